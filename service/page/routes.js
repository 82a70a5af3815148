// The views, in the order of the navigation. To add one: a file in views/ and a line here (README.md).
// `nav`: its word in the navigation. `load` is called when the view is first shown.

export const ROUTES = [
  { path: "/jobs", nav: "Jobs", title: "Jobs", key: "j", load: () => import("./views/jobs.js") },
  { path: "/jobs/:id", title: "Job", load: () => import("./views/job.js") },
  { path: "/compare", title: "Compare", load: () => import("./views/compare.js") },
];

/** Whether a view is there: for links to it. */
export function hasRoute(path) {
  return ROUTES.some((one) => one.path === path);
}
