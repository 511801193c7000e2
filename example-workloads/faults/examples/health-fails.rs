//! `health` says failed.

use faults::{Counter, Fault};
use guest_sdk::{Health, HealthStatus, Instance};

struct HealthFails;

impl Fault for HealthFails {
    type Inner = Counter;

    fn health(inner: &Instance<Counter>) -> Health {
        Health { status: HealthStatus::Failed, ..inner.health() }.with("reason", "on purpose")
    }
}

faults::fault!(HealthFails);
