//! Swaps that go well, under traffic.

use crate::harness::{Host, Traffic};

#[test]
fn upgrade_downgrade_upgrade_loses_nothing_and_ends_in_the_right_state() {
    let host = Host::with_counter();
    let traffic = Traffic::start(host.address(), 8, 0);
    let mut open = host.connect();
    for _ in 0..2 {
        for version in ["1.1.0", "2.0.0"] {
            let done = host.deploy(&host.counter(version), version, &[]);
            assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
            assert_eq!(done.json()["report"]["verdict"], "permanent", "{done:?}");
        }
        let done = host.cli(&["rollback", "counter", "--to", "1.0.0"]);
        assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    }
    let total = traffic.stop();
    assert_eq!(open.ask("incr"), format!("1.0.0 {}", total + 1));
    assert_eq!(host.workload("counter")["generation"], 7);
}
