// The views, in the order of the navigation. To add one: a file in views/ and a line here (README.md).
// `nav`: its word in the navigation. `load` is called when the view is first shown.

export const ROUTES = [
  { path: "/jobs", nav: "Jobs", title: "Jobs", key: "j", load: () => import("./views/jobs.js") },
  { path: "/jobs/:id", title: "Job", load: () => import("./views/job.js") },
  { path: "/compare", title: "Compare", load: () => import("./views/compare.js") },
  { path: "/new", nav: "New", title: "New job", key: "n", load: () => import("./views/new.js") },
  { path: "/try", nav: "Try it", title: "Try it", key: "t", load: () => import("./views/try.js") },
  { path: "/datasets", nav: "Datasets", title: "Datasets", key: "d", load: () => import("./views/datasets.js") },
  { path: "/datasets/:id", title: "Dataset", load: () => import("./views/dataset.js") },
  { path: "/webhooks", nav: "Webhooks", title: "Webhooks", key: "w", load: () => import("./views/webhooks.js") },
  { path: "/webhooks/:id", title: "Webhooks", load: () => import("./views/webhooks.js") },
  { path: "/models", nav: "Models", title: "Models", key: "m", load: () => import("./views/models.js") },
];
