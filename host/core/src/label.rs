//! What is said of a host, and which hosts are meant by it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::is_name;

/// Longest key or value of a label in bytes, as for a name.
pub const LABEL_LIMIT_BYTES: usize = 63;
/// Most labels of a host: a person must be able to read them in a line.
pub const LABELS_LIMIT: usize = 32;

/// One thing said of a host, written `key=value`: both are lower-case letters, digits, `-`, `_` or `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label {
    key: String,
    value: String,
}

/// Text that is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no label: write it as region=eu, with lower-case letters, digits, `-`, `_` and `.` on both sides")]
pub struct InvalidLabel {
    /// What was given.
    pub text: String,
}

impl Label {
    /// What it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is said.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sound = |part: &str| is_name(part, LABEL_LIMIT_BYTES);
        match text.split_once('=') {
            Some((key, value)) if sound(key) && sound(value) => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(InvalidLabel { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for Label {
    type Error = InvalidLabel;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// All that is said of a host: one value for each key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Label>", into = "Vec<Label>")]
pub struct Labels(BTreeMap<String, Label>);

/// Labels that can't all be one host's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// A key twice.
    #[error("the label `{key}` is given twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// Too many.
    #[error("a host has at most {LABELS_LIMIT} labels")]
    TooMany,
}

impl Labels {
    /// One after the other, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.values()
    }

    /// Whether this is said of the host.
    #[must_use]
    pub fn contains(&self, label: &Label) -> bool {
        self.0.get(label.key()) == Some(label)
    }
}

impl TryFrom<Vec<Label>> for Labels {
    type Error = InvalidLabels;

    fn try_from(labels: Vec<Label>) -> Result<Self, Self::Error> {
        if labels.len() > LABELS_LIMIT {
            return Err(InvalidLabels::TooMany);
        }
        let mut all = BTreeMap::new();
        for label in labels {
            if let Some(earlier) = all.insert(label.key.clone(), label) {
                return Err(InvalidLabels::Twice { key: earlier.key });
            }
        }
        Ok(Self(all))
    }
}

impl From<Labels> for Vec<Label> {
    fn from(labels: Labels) -> Self {
        labels.0.into_values().collect()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, label) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{label}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_reads_back_what_it_wrote_and_refuses_what_is_none() {
        assert_eq!("region=eu".parse::<Label>().expect("a label").to_string(), "region=eu");
        for bad in ["region", "=eu", "region=", "Region=eu", "a=b=c", "a b=c"] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_has_one_value_for_each_key() {
        let label = |text: &str| text.parse::<Label>().expect("a label");
        let labels = Labels::try_from(vec![label("b=2"), label("a=1")]).expect("sound");
        assert_eq!(labels.to_string(), "a=1,b=2");
        assert!(labels.contains(&label("a=1")) && !labels.contains(&label("a=2")));
        let twice = Labels::try_from(vec![label("a=1"), label("a=2")]);
        assert_eq!(twice, Err(InvalidLabels::Twice { key: "a".to_owned() }));
    }
}
