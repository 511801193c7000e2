//! The session's config: `key = value` lines. The same in every version.

use std::time::Duration;

/// What the config says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// How long a connection may be open without a login; none for ever.
    pub login_within: Option<Duration>,
}

impl Config {
    /// Reads `key = value` lines; empty ones and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The line that is not understood, and what is known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("login-ms", value)) => {
                    let ms = value.parse().map_err(|_| format!("config line {number}: {value} is no number of ms"))?;
                    config.login_within = Some(Duration::from_millis(ms));
                }
                Some((key, _)) => {
                    return Err(format!("config line {number}: unknown key {key:?}; known is login-ms"));
                }
                None => return Err(format!("config line {number}: expected `key = value`, found {line:?}")),
            }
        }
        Ok(config)
    }
}
