//! Join tokens: what lets a machine that has no certificate ask for one, once and not for ever.
//!
//! A token is `id.secret.authority` in hexadecimal digits: 16 that name it, 32 that nobody can guess, and 64 that are the
//! hash of the authority's key, so that the joiner knows whom it joins before it says the secret. The coordinator keeps
//! [`StoredToken`], which has a hash in place of the secret: who reads the store can't join.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use host_core::{
    hex,
    label::{Label, Labels},
    time::UnixNanos,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{NoRandomness, certificate::KeyHash, random, subject::Kind};
use crate::clock::written;

/// Most uses of one token: the hosts of the largest fleet.
pub const USES_LIMIT: u32 = 10_000;
/// Longest time for which a token is good: it lies in shell histories and deployment scripts.
pub const LIFE_LIMIT: Duration = Duration::from_hours(30 * 24);
/// Length of every token.
pub const TOKEN_BYTES: usize = 16 + 1 + 32 + 1 + 64;

/// What a token's hash begins with, so that it is nothing else's.
const HASHED_AS: &[u8] = b"hotswap join token\n";

/// Names a token; no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId([u8; 8]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::read(text).map(Self).ok_or(InvalidToken::Part("id"))
    }
}

impl TryFrom<String> for TokenId {
    type Error = InvalidToken;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.to_string()
    }
}

/// A token as the joiner has it, secret and all. [`Display`](fmt::Display) writes the secret, `Debug` does not.
#[derive(Clone)]
pub struct JoinToken {
    id: TokenId,
    secret: [u8; 16],
    authority: KeyHash,
}

/// Text that is no token. The text itself is not repeated: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// A part is missing, or there is one too many.
    #[error("this is no join token: it has three parts, `id.secret.authority`; copy the whole line")]
    Parts,
    /// A part is not written as it should be.
    #[error("the {0} of this join token is cut short or mistyped; copy the whole line")]
    Part(&'static str),
}

impl JoinToken {
    /// A new one of the fleet whose authority has this key.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn generate(authority: KeyHash) -> Result<Self, NoRandomness> {
        Ok(Self { id: TokenId(random()?), secret: random()?, authority })
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// The key of the authority to join.
    #[must_use]
    pub const fn authority(&self) -> KeyHash {
        self.authority
    }

    fn hash(&self) -> SecretHash {
        let Self { id, secret, authority: _ } = self;
        SecretHash(Sha256::new().chain_update(HASHED_AS).chain_update(id.0).chain_update(secret).finalize().into())
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.id)?;
        hex::write(&self.secret, f)?;
        write!(f, ".{}", self.authority)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, of {})", self.id, self.authority)
    }
}

impl FromStr for JoinToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Terminals and mail wrap a line in white space.
        let mut parts = text.trim().split('.');
        let (Some(id), Some(secret), Some(authority), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidToken::Parts);
        };
        let authority: KeyHash = authority.parse().map_err(|_| InvalidToken::Part("authority"))?;
        Ok(Self { id: id.parse()?, secret: hex::read(secret).ok_or(InvalidToken::Part("secret"))?, authority })
    }
}

/// What a token makes of who presents it. A coordinator does not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Joiner {
    /// A host.
    Host,
    /// An operator on another machine.
    Operator,
}

impl From<Joiner> for Kind {
    fn from(joiner: Joiner) -> Self {
        match joiner {
            Joiner::Host => Self::Host,
            Joiner::Operator => Self::Operator,
        }
    }
}

/// Which labels a joiner may say of itself: who may choose them chooses which workloads it gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelRule {
    /// Any.
    Any,
    /// None but these.
    Only(Labels),
}

/// SHA-256 of a token's secret. The secret has 128 random bits: nothing slower is needed.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Compares in the same time wherever the two differ.
    fn is(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |differing, (a, b)| differing | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// A token as the coordinator keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredToken {
    /// Its name.
    pub id: TokenId,
    /// What the secret must hash to.
    pub secret: SecretHash,
    /// What it makes of a joiner.
    pub joiner: Joiner,
    /// How often it may still be used.
    pub uses_left: u32,
    /// Until when.
    pub expires: UnixNanos,
    /// Which labels it allows.
    pub labels: LabelRule,
}

/// A token that would be good for too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTerms {
    /// Too often.
    #[error("a token can be used at most {USES_LIMIT} times")]
    Uses,
    /// Too long, or not at all.
    #[error("a token is good for at least a second and at most 30 days")]
    Life,
}

impl StoredToken {
    /// What to keep of a new token, good for so many uses from now on.
    ///
    /// # Errors
    /// When that is more than a token may be good for.
    pub fn new(
        token: &JoinToken,
        joiner: Joiner,
        uses: NonZeroU32,
        life: Duration,
        labels: LabelRule,
        now: UnixNanos,
    ) -> Result<Self, InvalidTerms> {
        if uses.get() > USES_LIMIT {
            return Err(InvalidTerms::Uses);
        }
        if !(Duration::from_secs(1)..=LIFE_LIMIT).contains(&life) {
            return Err(InvalidTerms::Life);
        }
        let expires = now.after(life);
        Ok(Self { id: token.id, secret: token.hash(), joiner, uses_left: uses.get(), expires, labels })
    }

    /// Whether this is the token whose hash is kept.
    pub(crate) fn is(&self, presented: &JoinToken) -> bool {
        // Both, always: no early way out tells which of the two was wrong.
        (self.id == presented.id) & self.secret.is(&presented.hash())
    }
}

/// Why a token does not let a joiner in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// There is none of this name.
    #[error("there is no join token {id}: it was never made here, or was removed")]
    Unknown {
        /// The token.
        id: TokenId,
    },
    /// Its secret is another.
    #[error("the secret of join token {id} is wrong")]
    WrongSecret {
        /// The token.
        id: TokenId,
    },
    /// Its time is over.
    #[error("join token {id} expired at {}", written(*at))]
    Expired {
        /// The token.
        id: TokenId,
        /// When.
        at: UnixNanos,
    },
    /// All its uses were taken.
    #[error("join token {id} is used up")]
    UsedUp {
        /// The token.
        id: TokenId,
    },
    /// It does not allow this label.
    #[error("join token {id} does not allow the label {label}; it allows {allowed}")]
    Label {
        /// The token.
        id: TokenId,
        /// The label.
        label: Label,
        /// What it allows.
        allowed: Allowed,
    },
}

/// Labels that a token allows, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(Labels);

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.iter().next().is_none() { f.write_str("none") } else { self.0.fmt(f) }
    }
}

impl TokenRefusal {
    /// What the joiner can do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unknown { .. } | Self::WrongSecret { .. } => {
                "copy the token whole, as `host fleet token create` printed it, or make a new one"
            }
            Self::Expired { .. } | Self::UsedUp { .. } => {
                "make a new one on the coordinator: `host fleet token create`"
            }
            Self::Label { .. } => "join without that label, or with a token that allows it",
        }
    }
}

/// Decides whether a token lets a joiner with these labels in. A use of it must then be taken, in the same transaction in
/// which it was looked up.
///
/// # Errors
/// Says which: unknown, wrong secret, expired, used up, or a label that it does not allow.
pub fn admit(
    stored: Option<&StoredToken>,
    presented: &JoinToken,
    labels: &Labels,
    now: UnixNanos,
) -> Result<Joiner, TokenRefusal> {
    let stored = authentic(stored, presented, labels, now)?;
    if stored.uses_left == 0 {
        return Err(TokenRefusal::UsedUp { id: stored.id });
    }
    Ok(stored.joiner)
}

/// All of [`admit`] but the count of uses.
pub(crate) fn authentic<'a>(
    stored: Option<&'a StoredToken>,
    presented: &JoinToken,
    labels: &Labels,
    now: UnixNanos,
) -> Result<&'a StoredToken, TokenRefusal> {
    let id = presented.id;
    let stored = stored.filter(|stored| stored.id == id).ok_or(TokenRefusal::Unknown { id })?;
    if !stored.is(presented) {
        return Err(TokenRefusal::WrongSecret { id });
    }
    if now >= stored.expires {
        return Err(TokenRefusal::Expired { id, at: stored.expires });
    }
    if let LabelRule::Only(allowed) = &stored.labels
        && let Some(label) = labels.iter().find(|label| !allowed.contains(label))
    {
        return Err(TokenRefusal::Label { id, label: label.clone(), allowed: Allowed(allowed.clone()) });
    }
    Ok(stored)
}

#[cfg(test)]
mod tests;
