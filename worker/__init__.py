"""RQ in, story out. The clock wakes what is due, RQ carries the errands, steps are doorways to the story."""
