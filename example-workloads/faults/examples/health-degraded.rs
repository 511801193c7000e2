//! `health` says degraded.

use faults::{Counter, Fault};
use guest_sdk::{Health, HealthStatus, Instance};

struct HealthDegraded;

impl Fault for HealthDegraded {
    type Inner = Counter;

    fn health(inner: &Instance<Counter>) -> Health {
        Health { status: HealthStatus::Degraded, ..inner.health() }.with("reason", "on purpose")
    }
}

faults::fault!(HealthDegraded);
