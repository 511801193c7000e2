//! The engine for instances with a connection each: thousands of them, each small and mostly idle.
//!
//! What it does otherwise than the engine for single instances, and why:
//!
//! - Calls block their thread. A fiber costs each instance 61 to 65 KiB of resident stack, and two mappings.
//! - No copy-on-write image. It takes a mapping more for each instance, of which a process has 65 530; a small guest's data is
//!   copied in microseconds.
//! - A linear memory has 64 MiB of address space, not 4 GiB: twice ten thousand fit, their page tables are small, and the code
//!   checks its bounds itself. A session that computes pays a third for that; one that serves a client does not notice.
//! - Nothing is kept resident in a free slot: after a swap as many slots are free as are in use.

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::{CORE_INSTANCES_PER_COMPONENT, FIBER_STACK_BYTES, WASM_STACK_BYTES, deterministic};

/// Address space of one linear memory, and so the most it can grow to: a thousand times what a session uses.
pub(crate) const MEMORY_BYTES: usize = 64 << 20;

/// Beyond it, so that an access with a small offset needs one check.
const GUARD_BYTES: u64 = 64 << 10;

/// Tables in one component: function pointers, and one for the shims; and one more.
const TABLES_PER_COMPONENT: u32 = 3;

/// Elements in one table. A guest with an interpreter in it has as many; a table is 80 KB of address space, not of memory.
const TABLE_ELEMENTS: usize = 10_000;

/// Freed memories and tables that are given back to the system together: one call of it instead of many.
const DECOMMIT_BATCH: usize = 64;

/// Settings for this many instances.
pub(super) fn config(instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        // One memory each: a component with an adapter that has its own is refused here, and can be deployed as `single`.
        .total_memories(instances)
        .max_memories_per_component(1)
        .total_tables(instances.saturating_mul(TABLES_PER_COMPONENT))
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memory_size(MEMORY_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(0)
        .table_keep_resident(0)
        .decommit_batch_size(DECOMMIT_BATCH)
        // None are used; the least there can be.
        .total_stacks(1);

    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(MEMORY_BYTES as u64)
        .memory_guard_size(GUARD_BYTES)
        .guard_before_linear_memory(false)
        .memory_may_move(false)
        .memory_init_cow(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES);
    deterministic(&mut config);
    config
}
