//! How a machine becomes a member of a fleet.
//!
//! The joiner makes its key, keeps it, and sends a request for it with its token to a coordinator that it knows by the
//! token ([`client::join`]). The coordinator checks the request, lets [`Admission`] take a use of the token, and signs
//! ([`server::Joining`]).
//!
//! Taking the use comes before signing, and both are repeated safely: the same joiner (token, name and key) is let in again
//! without a further use, so an answer that got lost costs nothing.

pub mod admission;
pub mod client;
pub mod server;

pub use admission::{Admission, AdmissionError, Admitted, Application, JoinRefusal, MemberRecord, decide};
pub use client::{JoinError, Joined, join};
pub use server::{Joining, service};
