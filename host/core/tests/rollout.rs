//! The rollout machine against hosts that obey, refuse, fail, fall silent and come back.

#[path = "rollout/failures.rs"]
mod failures;
#[path = "rollout/happy.rs"]
mod happy;
#[path = "rollout/world.rs"]
mod world;
