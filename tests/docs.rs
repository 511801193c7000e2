//! Every command of the README and of docs/GETTING-STARTED.md, run word for word.
