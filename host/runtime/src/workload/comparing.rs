//! Effects of the same events, compared.

use host_core::{
    comparison::{Comparison, Difference},
    id::BatchSeq,
};

use super::{
    journal::sum_of,
    suspects::{in_words, shown},
};
use crate::bindings::types::{Effect, Event};

/// Events of a batch that are named in an example.
const NAMED_EVENTS: usize = 2;

/// Compares a batch's effects with the hashes of what was done, which is all the journal has.
pub(crate) fn with_sums(comparison: &mut Comparison, seq: BatchSeq, events: &[Event], sums: &[u64], found: &[Effect]) {
    comparison.count(events.len() as u64, sums.len() as u64);
    for at in 0..sums.len().max(found.len()) {
        let (sum, effect) = (sums.get(at), found.get(at));
        if sum.copied() != effect.map(sum_of) {
            comparison.differs(|| Difference {
                batch: seq,
                events: named(events),
                expected: sum.map(|_| "something else".to_owned()),
                found: effect.map(effect_in_words),
            });
        }
    }
}

/// Compares the effects of two instances.
pub(crate) fn with_effects(
    comparison: &mut Comparison,
    seq: BatchSeq,
    events: &[Event],
    expected: &[Effect],
    found: &[Effect],
) {
    comparison.count(events.len() as u64, expected.len() as u64);
    for at in 0..expected.len().max(found.len()) {
        let (wanted, effect) = (expected.get(at), found.get(at));
        if wanted != effect {
            comparison.differs(|| Difference {
                batch: seq,
                events: named(events),
                expected: wanted.map(effect_in_words),
                found: effect.map(effect_in_words),
            });
        }
    }
}

fn named(events: &[Event]) -> String {
    let mut named: Vec<_> = events.iter().take(NAMED_EVENTS).map(in_words).collect();
    if let Some(more) = events.len().checked_sub(NAMED_EVENTS).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    named.join("; ")
}

/// An effect as a person reads it.
pub(crate) fn effect_in_words(effect: &Effect) -> String {
    match effect {
        Effect::Send(send) => match send.to.as_slice() {
            [only] => format!("sends {} to connection {only}", shown(&send.data)),
            many => format!("sends {} to {} connections", shown(&send.data), many.len()),
        },
        Effect::Close(close) => format!("closes connection {}", close.connection),
        Effect::SetTimer(set) => format!("sets timer {} to {}", set.timer, set.at),
        Effect::CancelTimer(timer) => format!("cancels timer {timer}"),
        Effect::Reply(reply) => match &reply.outcome {
            Ok(data) => format!("answers call {} with {}", reply.call, shown(data)),
            Err(error) => format!("answers call {} with the error {}", reply.call, shown(error.as_bytes())),
        },
        Effect::Respond(respond) => format!("answers request {} with {}", respond.request, respond.head.status),
        Effect::RespondBody(body) => format!("sends {} more bytes to request {}", body.data.len(), body.request),
        Effect::SendMessage(message) => {
            format!("sends the message {} to {} connections", shown(&message.data), message.to.len())
        }
        Effect::Fetch(fetch) => format!("fetches {}", fetch.url),
        Effect::Connect(connect) => format!("connects to {}", connect.address),
    }
}
