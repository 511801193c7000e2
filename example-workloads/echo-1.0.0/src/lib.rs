//! The example workload `echo`: it sends back what it receives.
//!
//! Config `mode = chunks` (the default) answers each chunk as it came; `mode = lines` puts lines together and answers each by a
//! `send` of its own, to measure what framing costs.

use guest_sdk::prelude::*;

/// The state: schema 1.
#[derive(Debug, Default, Serialize, Deserialize, Schema, State)]
#[state(version = 1)]
pub struct Echo {
    lines: Lines,
    #[serde(skip)]
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Chunks,
    Lines,
}

impl Workload for Echo {
    fn init(_config: &str) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn configure(&mut self, config: &str) -> Result<(), String> {
        for line in config.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("mode", "chunks")) => self.mode = Mode::Chunks,
                Some(("mode", "lines")) => self.mode = Mode::Lines,
                _ => return Err(format!("config line {line:?} is not `mode = chunks` or `mode = lines`")),
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event, out: &mut Effects) {
        match event {
            Event::Received { connection, data } if self.mode == Mode::Chunks => out.send(connection, data),
            Event::Received { connection, data } => match self.lines.feed(connection, data) {
                Ok(mut lines) => {
                    while let Some(line) = lines.next_line() {
                        out.send(connection, [line, b"\n"].concat());
                    }
                }
                Err(_) => out.abort(connection),
            },
            Event::Closed { connection, .. } => self.lines.forget(connection),
            _ => {}
        }
    }
}

guest_sdk::export!(Echo);

#[cfg(test)]
mod tests {
    use super::Echo;
    use guest_sdk::testing::Kit;

    #[test]
    fn a_chunk_comes_back_as_it_is() {
        let mut kit = Kit::<Echo>::start("").unwrap();
        let ann = kit.open();
        kit.receive(ann, [0, 255, 10]);
        kit.receive(ann, "x");
        assert_eq!(kit.take_sent(ann), [0, 255, 10, b'x']);
    }

    #[test]
    fn half_a_line_waits_for_its_end_even_across_a_swap() {
        let mut kit = Kit::<Echo>::start("mode = lines").unwrap();
        let ann = kit.open();
        kit.receive(ann, "one\ntw");
        assert_eq!(kit.take_text(ann), "one\n");
        let mut kit = kit.upgrade::<Echo>().unwrap();
        kit.receive(ann, "o\n");
        assert_eq!(kit.take_text(ann), "two\n");
    }

    #[test]
    fn a_mode_that_does_not_exist_is_refused() {
        assert!(Kit::<Echo>::start("mode = loud").is_err());
    }
}
