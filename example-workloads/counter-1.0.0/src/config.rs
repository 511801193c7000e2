//! The counter's config: `key = value` lines. The same in every version.

/// What the config says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// How many rows of ballast a counter without rows makes when it starts.
    pub rows: u64,
}

impl Config {
    /// Reads `key = value` lines; empty ones and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The line that is not understood, and what is known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        for (number, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), number + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                return Err(format!("config line {number}: expected `key = value`, found {line:?}"));
            };
            match (key.trim(), value.trim()) {
                ("rows", value) => {
                    config.rows =
                        value.parse().ok().filter(|rows| *rows <= super::rows::MAX_ROWS).ok_or_else(|| {
                            format!("config line {number}: rows = {value} is not {}", super::rows::RANGE)
                        })?;
                }
                (key, _) => return Err(format!("config line {number}: unknown key {key:?}; known is rows")),
            }
        }
        Ok(config)
    }
}
