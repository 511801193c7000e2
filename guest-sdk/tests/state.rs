//! Formats, chains of steps, and what a state says when it is not accepted.

use std::collections::HashMap;

use guest_sdk::prelude::*;
use guest_sdk::testing::Kit;
use guest_sdk::{Instance, StateError, StateFormat, StoredState};

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

/// What a step lends, and what comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema, State)]
#[state(version = 6, from = Five, to = Five)]
struct Six {
    names: Vec<String>,
    messages: i64,
    /// Does not leave with the rest.
    here: String,
    lending: Lending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
enum Lending {
    InOrder,
    Less,
    Keeps,
}

impl Upgrade<Five> for Six {
    fn upgrade(old: Five) -> Result<Self, String> {
        Ok(six(old.names, old.messages, Lending::InOrder))
    }
}

impl Downgrade<Five> for Six {
    fn downgrade(&self) -> Result<Five, String> {
        Ok(Five { names: self.names.clone(), messages: self.messages })
    }

    fn lend(self) -> Result<(Five, impl FnOnce(Five) -> Self), (Self, String)> {
        let Self { mut names, messages, here, lending } = self;
        if lending == Lending::Less {
            names.pop();
        }
        let whole = move |Five { mut names, messages }| {
            if lending == Lending::Keeps {
                names.clear();
            }
            Self { names, messages, here, lending }
        };
        Ok((Five { names, messages }, whole))
    }
}

impl Workload for Five {
    fn init(_: &str) -> Result<Self, String> {
        Ok(Self { names: names(), messages: 0 })
    }
    fn handle(&mut self, _: Event, _: &mut Effects) {}
}

impl Workload for Six {
    fn init(lending: &str) -> Result<Self, String> {
        let lending = match lending {
            "less" => Lending::Less,
            "keeps" => Lending::Keeps,
            _ => Lending::InOrder,
        };
        Ok(six(names(), 7, lending))
    }
    fn handle(&mut self, _: Event, _: &mut Effects) {}
}

fn six(names: Vec<String>, messages: i64, lending: Lending) -> Six {
    Six { names, messages, here: "stays".to_owned(), lending }
}

#[test]
fn a_state_is_lent_down_a_chain_and_comes_back_whole_also_when_a_step_refuses() {
    let mut instance = Instance::<Six>::new();
    instance.init("").unwrap();
    let whole = instance.workload().unwrap().clone();
    // Five copies, so the chain mixes both kinds of step.
    for schema in [1, 2, 5, 6] {
        assert_eq!(instance.snapshot(schema).unwrap(), whole.store_as(schema).unwrap(), "schema {schema}");
        assert_eq!(instance.workload().unwrap(), &whole);
    }
    instance.workload_mut().unwrap().messages = -1;
    let refused = instance.snapshot(2).unwrap_err();
    assert_eq!(refused, "the step from schema 5 to 2 failed: fewer messages than none");
    assert_eq!(instance.workload().unwrap().names, names());
    assert!(instance.snapshot(9).unwrap_err().starts_with("schema 9 can't be written"));
    assert_eq!(instance.workload().unwrap().here, "stays");
}

#[test]
fn the_kit_refuses_a_step_that_lends_another_state_or_does_not_get_it_back() {
    let refused = |how: &str| Kit::<Six>::start(how).unwrap().downgrade::<Five>().unwrap_err().reason;
    assert_eq!(refused("less"), "as schema 5, `lend` gives another state than `downgrade`");
    assert_eq!(refused("keeps"), "what was lent as schema 5 did not come back as it was");
    let kit = Kit::<Six>::start("").unwrap().downgrade::<Five>().unwrap();
    assert_eq!(kit.state().names, names());
}
