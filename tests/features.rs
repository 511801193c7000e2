//! docs/FEATURES.md is true: what it names is there.
