//! State that outlives its code: formats, the steps between them, and what can go wrong.

use std::fmt;

use crate::{Schema, fingerprint};
use serde::{Serialize, de::DeserializeOwned};

/// The format in which a component writes its state: the author's number and the hash of the type.
///
/// ```
/// let format = guest_sdk::StateFormat { schema: 2, fingerprint: 0xfeed };
/// assert_eq!(format.to_string(), "schema 2 (000000000000feed)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateFormat {
    /// Number of the format, raised by the author when the state's type changes.
    pub schema: u32,
    /// Hash of the state's type.
    pub fingerprint: u64,
}

impl fmt::Display for StateFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema {} ({:016x})", self.schema, self.fingerprint)
    }
}

/// A state outside any instance.
///
/// ```
/// # use guest_sdk::{StateFormat, StoredState};
/// let stored = StoredState { format: StateFormat { schema: 1, fingerprint: 0 }, data: vec![42] };
/// assert_eq!(stored.data.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredState {
    /// Its format.
    pub format: StateFormat,
    /// The state in postcard.
    pub data: Vec<u8>,
}

/// A state with a numbered format. It is derived, together with `Serialize`, `Deserialize` and `Schema`:
///
/// ```
/// use guest_sdk::prelude::*;
///
/// mod v1 {
///     use guest_sdk::prelude::*;
///     #[derive(Serialize, Deserialize, Schema, State)]
///     #[state(version = 1)]
///     pub struct Chat {
///         pub names: Vec<String>,
///     }
/// }
///
/// #[derive(Serialize, Deserialize, Schema, State)]
/// #[state(version = 2, from = v1::Chat, to = v1::Chat)]
/// struct Chat {
///     names: Vec<String>,
///     messages: u64,
/// }
///
/// impl Upgrade<v1::Chat> for Chat {
///     fn upgrade(old: v1::Chat) -> Result<Self, String> {
///         Ok(Self { names: old.names, messages: 0 })
///     }
/// }
///
/// impl Downgrade<v1::Chat> for Chat {
///     fn downgrade(&self) -> Result<v1::Chat, String> {
///         Ok(v1::Chat { names: self.names.clone() })
///     }
/// }
///
/// let old = v1::Chat { names: vec!["ann".to_owned()] }.store()?;
/// let new = Chat::restore(&old)?;
/// assert_eq!(new.names, ["ann"]);
/// assert_eq!(new.store_as(1)?, old);
/// # Ok::<(), guest_sdk::StateError>(())
/// ```
///
/// - `version` is the number of the format. A type that changes gets a higher one; the host refuses a component whose type
///   changed without it, because the [`FINGERPRINT`](State::FINGERPRINT) differs.
/// - `from = T` says that a state of type `T` can be taken over and asks for [`Upgrade<T>`]. Where `T` has a `from` itself, its
///   states are taken over too, one step at a time.
/// - `to = T` says that the state can be given back as `T` and asks for [`Downgrade<T>`], with the same chaining.
///
/// What can't be right does not compile. A state without its number:
///
/// ```compile_fail
/// # use guest_sdk::prelude::*;
/// #[derive(Serialize, Deserialize, Schema, State)]
/// struct Chat {} // error: a State needs the number of its format: #[state(version = 1)]
/// ```
///
/// A step without its code, or to a number that is not lower:
///
/// ```compile_fail
/// # use guest_sdk::prelude::*;
/// # #[derive(Serialize, Deserialize, Schema, State)]
/// # #[state(version = 1)]
/// # struct Old {}
/// #[derive(Serialize, Deserialize, Schema, State)]
/// #[state(version = 2, from = Old)]
/// struct Chat {} // error: the trait bound `Chat: Upgrade<Old>` is not satisfied
/// ```
///
/// ```compile_fail
/// # use guest_sdk::prelude::*;
/// # #[derive(Serialize, Deserialize, Schema, State)]
/// # #[state(version = 2)]
/// # struct Old {}
/// #[derive(Serialize, Deserialize, Schema, State)]
/// #[state(version = 2, from = Old)]
/// struct Chat {} // error: `from` and `to` name an older state: its version must be lower
/// # impl Upgrade<Old> for Chat {
/// #     fn upgrade(_: Old) -> Result<Self, String> { Ok(Self {}) }
/// # }
/// ```
///
/// A field that postcard could write but not read back:
///
/// ```compile_fail
/// # use guest_sdk::prelude::*;
/// #[derive(Serialize, Deserialize, Schema)]
/// struct User {
///     #[serde(skip_serializing_if = "Option::is_none")]
///     name: Option<String>,
/// }
/// ```
pub trait State: Serialize + DeserializeOwned + Schema + Sized + 'static {
    /// The number of the format.
    const VERSION: u32;

    /// The hash of the type, computed when it is compiled.
    const FINGERPRINT: u64 = fingerprint::of(Self::SCHEMA);

    /// The format that [`store`](State::store) writes.
    fn format() -> StateFormat {
        StateFormat { schema: Self::VERSION, fingerprint: Self::FINGERPRINT }
    }

    /// The older formats that [`restore`](State::restore) also takes, newest first.
    fn upgrades_from() -> Vec<StateFormat> {
        let mut formats = Vec::new();
        Self::__collect_from(&mut formats);
        formats
    }

    /// The older formats that [`store_as`](State::store_as) also writes, newest first.
    fn downgrades_to() -> Vec<StateFormat> {
        let mut formats = Vec::new();
        Self::__collect_to(&mut formats);
        formats
    }

    /// The state as bytes, in its own format.
    ///
    /// # Errors
    /// A type that postcard can't write; the derives refuse those that are known.
    fn store(&self) -> Result<StoredState, StateError> {
        Ok(StoredState { format: Self::format(), data: encode(self, 0)? })
    }

    /// The state as bytes, in its own or an older format.
    ///
    /// # Errors
    /// A schema that is not among [`downgrades_to`](State::downgrades_to), a step down that refuses, or as `store`.
    fn store_as(&self, schema: u32) -> Result<StoredState, StateError> {
        self.__store_as(schema, 0)
    }

    /// `store_as` for who knows about how large it will be: the buffer then need not grow.
    #[doc(hidden)]
    fn __store_as(&self, schema: u32, expected_bytes: usize) -> Result<StoredState, StateError> {
        if schema == Self::VERSION {
            return Ok(StoredState { format: Self::format(), data: encode(self, expected_bytes)? });
        }
        let formats = Self::downgrades_to();
        let Some(format) = formats.iter().find(|format| format.schema == schema) else {
            return Err(StateError::NoDowngrade { asked: schema, writes: Self::format(), also: formats });
        };
        Ok(StoredState { format: *format, data: self.__descend(schema, expected_bytes)? })
    }

    /// `__store_as` for who owns the state: each step down borrows its parts ([`Downgrade::lend`]) and gives them back.
    #[doc(hidden)]
    fn __give_as(self, schema: u32, expected_bytes: usize) -> (Self, Result<StoredState, StateError>) {
        let formats = Self::downgrades_to();
        match formats.iter().find(|format| format.schema == schema) {
            Some(format) if schema != Self::VERSION => {
                let (whole, data) = self.__descend_lent(schema, expected_bytes);
                (whole, data.map(|data| StoredState { format: *format, data }))
            }
            _ => {
                let stored = self.__store_as(schema, expected_bytes);
                (self, stored)
            }
        }
    }

    /// The state from bytes of its own or an older format, climbing one step at a time.
    ///
    /// # Errors
    /// A format that is not accepted, bytes that don't decode or don't end where the state ends, a step that refuses.
    fn restore(stored: &StoredState) -> Result<Self, StateError> {
        let mut accepted = vec![Self::format()];
        Self::__collect_from(&mut accepted);
        match accepted.iter().find(|format| format.schema == stored.format.schema) {
            None => Err(StateError::UnknownSchema { found: stored.format, accepted }),
            Some(known) if *known != stored.format => {
                Err(StateError::OtherType { found: stored.format, known: *known })
            }
            Some(_) => Self::__climb(stored.format.schema, &stored.data),
        }
    }

    #[doc(hidden)]
    fn __collect_from(formats: &mut Vec<StateFormat>);
    #[doc(hidden)]
    fn __collect_to(formats: &mut Vec<StateFormat>);
    #[doc(hidden)]
    fn __climb(schema: u32, data: &[u8]) -> Result<Self, StateError>;
    #[doc(hidden)]
    fn __descend(&self, schema: u32, expected_bytes: usize) -> Result<Vec<u8>, StateError>;
    #[doc(hidden)]
    fn __descend_lent(self, schema: u32, expected_bytes: usize) -> (Self, Result<Vec<u8>, StateError>);
}

/// How a newer state takes over an older one. Asked for by `#[state(from = T)]`; see [`State`] for an example.
///
/// It should be total and cheap: it runs while the clients wait.
pub trait Upgrade<T>: Sized {
    /// The newer state.
    ///
    /// # Errors
    /// Why this state can't be taken over. The swap is then aborted, and the older version goes on as if nothing had been.
    fn upgrade(old: T) -> Result<Self, String>;
}

/// How a newer state is given back as an older one. Asked for by `#[state(to = T)]`; see [`State`] for an example.
///
/// It is the newer code that knows both formats, as in Erlang: old code never sees a format from its future.
pub trait Downgrade<T> {
    /// The older state. What it has no place for is left out.
    ///
    /// # Errors
    /// Why this state can't be expressed in the older format. A rollback then takes the state from before the swap.
    fn downgrade(&self) -> Result<T, String>;

    /// The older state, made of this one's own parts, and how this one is put together from them again.
    ///
    /// `downgrade` can only copy what both have, and a big state is copied while the clients wait. This moves it: the older
    /// state is written down, and what it borrowed is given back unchanged, for the swap may still be called off.
    ///
    /// It must give what `downgrade` gives. Taking both states apart field by field lets the compiler see to it that
    /// nothing is forgotten on the way there or back:
    ///
    /// ```
    /// # use guest_sdk::prelude::*;
    /// # mod v1 {
    /// #     use guest_sdk::prelude::*;
    /// #     #[derive(Serialize, Deserialize, Schema, State)]
    /// #     #[state(version = 1)]
    /// #     pub struct Chat {
    /// #         pub names: Vec<String>,
    /// #     }
    /// # }
    /// # #[derive(Serialize, Deserialize, Schema, State)]
    /// # #[state(version = 2, to = v1::Chat)]
    /// # struct Chat {
    /// #     names: Vec<String>,
    /// #     messages: u64,
    /// # }
    /// impl Downgrade<v1::Chat> for Chat {
    ///     fn downgrade(&self) -> Result<v1::Chat, String> {
    ///         Ok(v1::Chat { names: self.names.clone() })
    ///     }
    ///
    ///     fn lend(self) -> Result<(v1::Chat, impl FnOnce(v1::Chat) -> Self), (Self, String)> {
    ///         let Self { names, messages } = self;
    ///         let whole = move |v1::Chat { names }| Self { names, messages };
    ///         Ok((v1::Chat { names }, whole))
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// As `downgrade`, with this state.
    fn lend(self) -> Result<(T, impl FnOnce(T) -> Self), (Self, String)>
    where
        Self: Sized,
    {
        match self.downgrade() {
            Ok(old) => Ok((old, move |_| self)),
            Err(why) => Err((self, why)),
        }
    }
}

/// Why a state could not be stored or restored.
///
/// ```
/// use guest_sdk::prelude::*;
/// use guest_sdk::{StateFormat, StoredState};
///
/// #[derive(Serialize, Deserialize, Schema, State, Debug)]
/// #[state(version = 1)]
/// struct Total(u64);
///
/// let future = StoredState { format: StateFormat { schema: 7, fingerprint: 0 }, data: vec![] };
/// let error = Total::restore(&future).unwrap_err();
/// assert!(error.to_string().starts_with("schema 7 (0000000000000000) is not accepted"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// No step leads from that schema.
    UnknownSchema {
        /// The state's format.
        found: StateFormat,
        /// The formats that are accepted, newest first.
        accepted: Vec<StateFormat>,
    },
    /// The schema is known, but under another type.
    OtherType {
        /// The state's format.
        found: StateFormat,
        /// The format of that number here.
        known: StateFormat,
    },
    /// No step leads down to that schema.
    NoDowngrade {
        /// What was asked for.
        asked: u32,
        /// The format that is written.
        writes: StateFormat,
        /// The older ones that can be written.
        also: Vec<StateFormat>,
    },
    /// The bytes are not a state of that schema.
    Decode {
        /// The schema.
        schema: u32,
        /// What the decoder says.
        reason: String,
    },
    /// The bytes go on after the state's end.
    TrailingBytes {
        /// The schema.
        schema: u32,
        /// How many.
        bytes: usize,
    },
    /// The state can't be written.
    Encode {
        /// The schema.
        schema: u32,
        /// What the encoder says.
        reason: String,
    },
    /// An `upgrade` or `downgrade` refused.
    Step {
        /// The schema it started from.
        from: u32,
        /// The schema it leads to.
        to: u32,
        /// Its own words.
        reason: String,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSchema { found, accepted } => {
                write!(f, "{found} is not accepted; accepted are {}", List(accepted))
            }
            Self::OtherType { found, known } => write!(
                f,
                "{found} has another type than {known}, which has the same number: a state type that changes needs a new version"
            ),
            Self::NoDowngrade { asked, writes, also } if also.is_empty() => {
                write!(f, "schema {asked} can't be written; only {writes} is")
            }
            Self::NoDowngrade { asked, writes, also } => {
                write!(f, "schema {asked} can't be written; {writes} is, and for a downgrade {}", List(also))
            }
            Self::Decode { schema, reason } => write!(f, "the bytes are not a state of schema {schema}: {reason}"),
            Self::TrailingBytes { schema, bytes } => {
                write!(f, "the bytes are not a state of schema {schema}: {bytes} bytes too many")
            }
            Self::Encode { schema, reason } => write!(f, "the state of schema {schema} can't be written: {reason}"),
            Self::Step { from, to, reason } => write!(f, "the step from schema {from} to {to} failed: {reason}"),
        }
    }
}

impl std::error::Error for StateError {}

impl From<StateError> for String {
    fn from(error: StateError) -> Self {
        error.to_string()
    }
}

struct List<'a>(&'a [StateFormat]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, format) in self.0.iter().enumerate() {
            write!(f, "{}{format}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Writes a state. `expected_bytes` saves growing the buffer, which for a big state is most of the peak in memory.
#[doc(hidden)]
pub fn encode<S: State>(state: &S, expected_bytes: usize) -> Result<Vec<u8>, StateError> {
    postcard::to_extend(state, Vec::with_capacity(expected_bytes))
        .map_err(|error| StateError::Encode { schema: S::VERSION, reason: error.to_string() })
}

/// Reads a state, all of it and nothing after it.
#[doc(hidden)]
pub fn decode<S: State>(data: &[u8]) -> Result<S, StateError> {
    let (state, rest) = postcard::take_from_bytes(data)
        .map_err(|error| StateError::Decode { schema: S::VERSION, reason: error.to_string() })?;
    if rest.is_empty() { Ok(state) } else { Err(StateError::TrailingBytes { schema: S::VERSION, bytes: rest.len() }) }
}

#[doc(hidden)]
pub fn step_up<Old: State, New: State + Upgrade<Old>>(schema: u32, data: &[u8]) -> Result<New, StateError> {
    New::upgrade(Old::__climb(schema, data)?).map_err(|reason| StateError::Step {
        from: Old::VERSION,
        to: New::VERSION,
        reason,
    })
}

#[doc(hidden)]
pub fn step_down<Old: State, New: State + Downgrade<Old>>(
    new: &New,
    schema: u32,
    expected_bytes: usize,
) -> Result<Vec<u8>, StateError> {
    new.downgrade()
        .map_err(|reason| StateError::Step { from: New::VERSION, to: Old::VERSION, reason })?
        .__descend(schema, expected_bytes)
}

#[doc(hidden)]
pub fn step_down_lent<Old: State, New: State + Downgrade<Old>>(
    new: New,
    schema: u32,
    expected_bytes: usize,
) -> (New, Result<Vec<u8>, StateError>) {
    match new.lend() {
        Ok((old, whole)) => {
            let (old, data) = old.__descend_lent(schema, expected_bytes);
            (whole(old), data)
        }
        Err((new, reason)) => (new, Err(StateError::Step { from: New::VERSION, to: Old::VERSION, reason })),
    }
}

/// The end of a chain. The SDK asks only for schemas it collected from the same chain, so nothing valid comes here.
#[doc(hidden)]
pub fn end_of_chain<S: State, T>(schema: u32) -> Result<T, StateError> {
    Err(StateError::Decode { schema, reason: format!("no step leads between it and {}", S::format()) })
}
