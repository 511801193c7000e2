//! Whether a joiner is let in: decided purely here, made to last by the coordinator's store.

use std::{error::Error, future::Future};

use host_core::{label::Labels, time::UnixNanos};
use serde::{Deserialize, Serialize};

use crate::identity::{
    JoinToken, Joiner, KeyHash, Kind, StoredToken, SubjectName, TokenId, TokenRefusal,
    token::{admit, authentic},
};

/// A joiner's request, checked: it holds the key.
#[derive(Clone, Debug)]
pub struct Application {
    /// What it presents.
    pub token: JoinToken,
    /// Its key.
    pub key: KeyHash,
    /// The name that it wants.
    pub name: SubjectName,
    /// What it says of itself.
    pub labels: Labels,
}

/// A member as the coordinator's store keeps it, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// As what.
    pub kind: Kind,
    /// Which of that kind.
    pub name: SubjectName,
    /// The one key that may have this name.
    pub key: KeyHash,
    /// What it said of itself.
    pub labels: Labels,
    /// By which token it joined last.
    pub token: TokenId,
    /// When.
    pub at: UnixNanos,
}

/// What to write when a joiner is let in, both in one transaction.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// As what.
    pub joiner: Joiner,
    /// How many uses the token has left now.
    pub uses_left: u32,
    /// The member, in place of the one of the same kind and name.
    pub member: MemberRecord,
}

/// Why a joiner is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// The token does not let it in.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// Another key has the name.
    #[error("the name {name} belongs to {} that joined with another key", article(*kind))]
    NameTaken {
        /// Among these.
        kind: Kind,
        /// The name.
        name: SubjectName,
    },
}

const fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Host => "a host",
        Kind::Operator => "an operator",
        Kind::Coordinator => "a coordinator",
    }
}

impl JoinRefusal {
    /// What the joiner can do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.remedy(),
            Self::NameTaken { .. } => {
                "join under another name; if it is the same machine, start it with the data directory that holds its identity"
            }
        }
    }
}

/// Decides about an application, given the token and the member that the store has under the names asked for: the token by
/// its id, the member by the token's kind and the wanted name.
///
/// # Errors
/// Says why the joiner is not let in; then nothing is to be written.
pub fn decide(
    stored: Option<&StoredToken>,
    namesake: Option<&MemberRecord>,
    application: &Application,
    now: UnixNanos,
) -> Result<Admitted, JoinRefusal> {
    let Application { token, key, name, labels } = application;
    let authentic = authentic(stored, token, labels, now)?;
    let kind = Kind::from(authentic.joiner);
    let namesake = namesake.filter(|namesake| namesake.kind == kind && namesake.name == *name);
    if namesake.is_some_and(|namesake| namesake.key != *key) {
        return Err(JoinRefusal::NameTaken { kind, name: name.clone() });
    }
    // The same joiner once more: it did not get its answer, and the use that it took is its own.
    let again = namesake.is_some_and(|namesake| namesake.token == token.id());
    let uses_left = if again {
        authentic.uses_left
    } else {
        admit(stored, token, labels, now)?;
        authentic.uses_left.saturating_sub(1)
    };
    let (name, labels) = (name.clone(), labels.clone());
    let member = MemberRecord { kind, name, key: *key, labels, token: token.id(), at: now };
    Ok(Admitted { joiner: authentic.joiner, uses_left, member })
}

/// An application was not let in.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] JoinRefusal),
    /// The store failed; whether a use was taken is not known, and does not matter: the joiner may ask again.
    #[error("the coordinator's store failed")]
    Store(#[source] Box<dyn Error + Send + Sync>),
}

/// The store's part in letting somebody in.
pub trait Admission: Send + Sync + 'static {
    /// Looks up the token and the namesake, [`decide`]s, and writes what was decided: all in one transaction, durable when this
    /// returns. Of two joiners at once that want the last use, or the same name, one is refused.
    fn admit(
        &self,
        application: Application,
        now: UnixNanos,
    ) -> impl Future<Output = Result<Admitted, AdmissionError>> + Send;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::LabelRule;

    const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);
    const HOUR: Duration = Duration::from_hours(1);

    struct Case {
        stored: StoredToken,
        application: Application,
    }

    fn case(joiner: Joiner) -> Case {
        let token = JoinToken::generate(KeyHash::of(b"authority")).expect("random bytes");
        let uses = 1.try_into().expect("some");
        let stored = StoredToken::new(&token, joiner, uses, HOUR, LabelRule::Any, NOW).expect("sound terms");
        let (key, name) = (KeyHash::of(b"joiner"), "web-1".parse().expect("a name"));
        Case { stored, application: Application { token, key, name, labels: Labels::default() } }
    }

    #[test]
    fn a_joiner_takes_a_use_and_a_name() {
        let Case { stored, application } = case(Joiner::Operator);
        let admitted = decide(Some(&stored), None, &application, NOW).expect("let in");
        assert_eq!((admitted.joiner, admitted.uses_left), (Joiner::Operator, 0));
        assert_eq!((admitted.member.kind, admitted.member.key), (Kind::Operator, application.key));
    }

    #[test]
    fn the_same_joiner_is_let_in_again_for_nothing_and_another_is_not() {
        let Case { mut stored, application } = case(Joiner::Host);
        let first = decide(Some(&stored), None, &application, NOW).expect("let in");
        stored.uses_left = first.uses_left;
        let again = decide(Some(&stored), Some(&first.member), &application, NOW.after(HOUR / 2)).expect("once more");
        assert_eq!(again.uses_left, 0);

        let used_up = JoinRefusal::Token(TokenRefusal::UsedUp { id: stored.id });
        let other = Application { name: "web-2".parse().expect("a name"), ..application.clone() };
        assert_eq!(decide(Some(&stored), None, &other, NOW).expect_err("used up"), used_up);
        // Joined by an earlier token: this one's use is not its own.
        let earlier = MemberRecord { token: "00112233aabbccdd".parse().expect("an id"), ..first.member.clone() };
        assert_eq!(decide(Some(&stored), Some(&earlier), &application, NOW).expect_err("used up"), used_up);
        let late = decide(Some(&stored), Some(&first.member), &application, NOW.after(HOUR)).expect_err("expired");
        assert!(matches!(late, JoinRefusal::Token(TokenRefusal::Expired { .. })), "{late}");
    }

    #[test]
    fn a_name_belongs_to_the_key_that_took_it_among_its_kind() {
        let Case { stored, application } = case(Joiner::Host);
        let first = decide(Some(&stored), None, &application, NOW).expect("let in");
        let copied = Application { key: KeyHash::of(b"another"), ..application.clone() };
        let refusal = decide(Some(&stored), Some(&first.member), &copied, NOW).expect_err("taken");
        assert!(refusal.to_string().contains("web-1 belongs to a host that joined with another key"), "{refusal}");
        // An operator of the same name is somebody else.
        let operator = MemberRecord { kind: Kind::Operator, ..first.member };
        decide(Some(&stored), Some(&operator), &copied, NOW).expect("let in");
    }

    #[test]
    fn who_has_no_good_token_does_not_learn_which_names_are_taken() {
        let Case { stored, application } = case(Joiner::Host);
        let first = decide(Some(&stored), None, &application, NOW).expect("let in");
        let copied = Application { key: KeyHash::of(b"another"), ..application };
        let refusal = decide(None, Some(&first.member), &copied, NOW).expect_err("unknown");
        assert!(matches!(refusal, JoinRefusal::Token(TokenRefusal::Unknown { .. })), "{refusal}");
    }
}
