//! Formats, chains of steps, and what a state says when it is not accepted.

use std::collections::HashMap;

use guest_sdk::prelude::*;
use guest_sdk::testing::Kit;
use guest_sdk::{StateError, StateFormat, StoredState};

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema, State)]
#[state(version = 1)]
struct One {
    names: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema, State)]
#[state(version = 2, from = One, to = One)]
struct Two {
    names: Vec<String>,
    messages: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema, State)]
#[state(version = 5, from = Two, to = Two)]
struct Five {
    names: Vec<String>,
    messages: i64,
}

impl Upgrade<One> for Two {
    fn upgrade(old: One) -> Result<Self, String> {
        Ok(Self { names: old.names, messages: 0 })
    }
}

impl Downgrade<One> for Two {
    fn downgrade(&self) -> Result<One, String> {
        Ok(One { names: self.names.clone() })
    }
}

impl Upgrade<Two> for Five {
    fn upgrade(old: Two) -> Result<Self, String> {
        let messages = i64::try_from(old.messages).map_err(|_| "too many messages".to_owned())?;
        Ok(Self { names: old.names, messages })
    }
}

impl Downgrade<Two> for Five {
    fn downgrade(&self) -> Result<Two, String> {
        let messages = u64::try_from(self.messages).map_err(|_| "fewer messages than none".to_owned())?;
        Ok(Two { names: self.names.clone(), messages })
    }
}

fn names() -> Vec<String> {
    vec!["ann".to_owned(), "bob".to_owned()]
}

#[test]
fn a_chain_climbs_one_step_at_a_time_and_comes_down_again() {
    let one = One { names: names() }.store().unwrap();
    let five = Five::restore(&one).unwrap();
    assert_eq!(five, Five { names: names(), messages: 0 });
    assert_eq!(five.store_as(1).unwrap(), one);
    assert_eq!(five.store_as(2).unwrap(), Two { names: names(), messages: 0 }.store().unwrap());
    assert_eq!(Five::upgrades_from(), [Two::format(), One::format()]);
    assert_eq!(Five::downgrades_to(), [Two::format(), One::format()]);
    assert_eq!(One::upgrades_from(), []);
}

#[test]
fn a_step_that_refuses_says_which_it_was() {
    let two = Two { names: names(), messages: u64::MAX }.store().unwrap();
    assert_eq!(Five::restore(&two).unwrap_err().to_string(), "the step from schema 2 to 5 failed: too many messages");
    assert_eq!(
        Five { names: names(), messages: -1 }.store_as(1).unwrap_err().to_string(),
        "the step from schema 5 to 2 failed: fewer messages than none"
    );
}

#[test]
fn an_unknown_schema_is_refused_with_those_that_are_known() {
    let format = StateFormat { schema: 9, fingerprint: 1 };
    let error = Two::restore(&StoredState { format, data: vec![] }).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("schema 9 (0000000000000001) is not accepted; accepted are {}, {}", Two::format(), One::format())
    );
    assert_eq!(
        Two { names: vec![], messages: 0 }.store_as(5).unwrap_err().to_string(),
        format!("schema 5 can't be written; {} is, and for a downgrade {}", Two::format(), One::format())
    );
}

#[test]
fn another_type_under_the_same_number_is_refused() {
    let mut stored = One { names: names() }.store().unwrap();
    stored.format.fingerprint ^= 1;
    assert!(matches!(Two::restore(&stored), Err(StateError::OtherType { .. })));
}

#[test]
fn bytes_that_are_cut_or_too_many_are_refused() {
    let whole = Two { names: names(), messages: 300 }.store().unwrap();
    for length in 0..whole.data.len() {
        let cut = StoredState { data: whole.data[..length].to_vec(), ..whole };
        assert!(matches!(Two::restore(&cut), Err(StateError::Decode { schema: 2, .. })), "{length} bytes");
    }
    let mut long = whole;
    long.data.push(0);
    assert_eq!(Two::restore(&long).unwrap_err(), StateError::TrailingBytes { schema: 2, bytes: 1 });
}

#[test]
fn a_skipped_field_is_not_part_of_the_format() {
    struct NoSchema;
    impl Default for NoSchema {
        fn default() -> Self {
            Self
        }
    }
    #[derive(Serialize, Deserialize, Schema, State)]
    #[state(version = 1)]
    struct WithCache {
        names: Vec<String>,
        #[serde(skip)]
        _cache: NoSchema,
    }
    assert_eq!(WithCache::FINGERPRINT, One::FINGERPRINT);
}

#[derive(Serialize, Deserialize, Schema, State)]
#[state(version = 1)]
struct Unordered(HashMap<u64, u64>);

impl Workload for Unordered {
    fn init(_config: &str) -> Result<Self, String> {
        Ok(Self((0..1000).map(|n| (n, n)).collect()))
    }
    fn handle(&mut self, _event: Event, _out: &mut Effects) {}
}

#[test]
fn the_kit_finds_a_state_without_an_order() {
    let refused = Kit::<Unordered>::start("").unwrap().upgrade::<Unordered>().unwrap_err();
    assert!(refused.reason.contains("HashMap"), "{refused}");
}
