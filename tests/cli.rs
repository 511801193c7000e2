//! The command line over a real host: each verb, both outputs, every exit code.

mod control;
mod deploys;
mod interrupted;
mod looks;
mod refusals;

use crate::harness::{Done, Host};

impl Host {
    /// Runs a command in words that must end with this code, and gives what a person reads: both of its outputs.
    #[track_caller]
    fn words(&self, arguments: &[&str], code: i32) -> String {
        let done = self.cli(arguments);
        assert_eq!(done.code, code, "{arguments:?}: {done:?}\n{}", self.log());
        done.stdout + &done.stderr
    }

    /// Runs a command that must end with this code, and gives its document.
    #[track_caller]
    fn document(&self, arguments: &[&str], code: i32) -> serde_json::Value {
        let done = self.cli(&[arguments, &["--output", "json"]].concat());
        assert_eq!(done.code, code, "{arguments:?}: {done:?}\n{}", self.log());
        assert_eq!(done.stderr, "", "a program is told nothing in words: {arguments:?}");
        done.json()
    }

    /// Runs a command that must be refused with this code, in words and as a document, and say all of this each time.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], code: i32, wanted: &[&str]) {
        let words = self.words(arguments, code);
        let document = self.document(arguments, code);
        let of = |part: &str| document["error"][part].as_str().unwrap_or_default().to_owned();
        let told = format!("{}\n{}\n{}", of("what"), of("still"), of("remedy"));
        for wanted in wanted {
            for text in [&words, &told] {
                assert!(text.contains(wanted), "{arguments:?} does not say `{wanted}`:\n{text}");
            }
        }
        assert_eq!(document["error"]["exit_code"], code);
    }
}

#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is missing:\n{text}");
    }
}

/// A deploy's report, which must have this verdict and this exit code.
#[track_caller]
fn report(done: &Done, code: i32, verdict: &str) -> serde_json::Value {
    let report = done.json()["report"].clone();
    assert_eq!((done.code, &report["verdict"]), (code, &verdict.into()), "{done:?}");
    report
}
