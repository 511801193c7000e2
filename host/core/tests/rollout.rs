//! The rollout machine against hosts that obey, refuse, fail, fall silent and come back.

#[path = "rollout/chance.rs"]
mod chance;
#[path = "rollout/every.rs"]
mod every;
#[path = "rollout/failures.rs"]
mod failures;
#[path = "rollout/happy.rs"]
mod happy;
#[path = "rollout/model.rs"]
mod model;
#[path = "rollout/parts.rs"]
mod parts;
#[path = "rollout/people.rs"]
mod people;
#[path = "rollout/planning.rs"]
mod planning;
#[path = "rollout/world.rs"]
mod world;
