//! What a host process tells collectors and scrapers.
