//! How metrics are named, counted and written: what a host and a coordinator have in common.
//!
//! Each of the two has one table of its metrics ([`Metric`]), places to count (atomics, [`DurationHistogram`]), and a collector that
//! fills the table in when somebody scrapes ([`Samples`]). Nothing here knows what is counted.
#![warn(missing_docs)]

mod histogram;
mod metric;
mod samples;

pub use self::{
    histogram::DurationHistogram,
    metric::{Metric, PREFIX, Unit, counter, duration, gauge},
    samples::{Samples, scrape},
};
