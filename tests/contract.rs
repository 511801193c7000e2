//! What was built once runs for ever.

use std::path::Path;

use crate::harness::{Host, Traffic};

/// `components/counter-0.1.0-contract.wasm` is counter 1.0.0 as it was built when `hotswap:workload@0.1.0` was first released.
/// It is never built again: people have such components stored, and a downgrade needs them.
#[test]
fn a_component_of_the_first_contract_is_deployed_swapped_away_and_gone_back_to() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/components/counter-0.1.0-contract.wasm");
    let host = Host::start();
    let done = host.deploy(&stored, "1.0.0", &["--listen", "tcp://127.0.0.1:0"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    let traffic = Traffic::start(host.address(), 4, 0);
    let mut open = host.connect();
    let done = host.deploy(&host.counter("1.1.0"), "1.1.0", &[]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    assert_eq!(done.json()["report"]["plan"]["way_back"], "downgrade", "{done:?}");
    let done = host.cli(&["rollback", "counter"]);
    assert_eq!(done.code, 0, "{done:?}\n{}", host.log());
    let total = traffic.stop();
    assert_eq!(open.ask("incr"), format!("1.0.0 {}", total + 1));
    let inspected = host.json(&["inspect", stored.to_str().unwrap()]);
    assert!(inspected["exports"].to_string().contains("hotswap:workload/handler@0.1.0"), "{inspected}");
}
