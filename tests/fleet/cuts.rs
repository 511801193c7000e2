//! A host's connection that is cut, or swallows what is said, in each phase of a rollout. What is not known is not failed: the
//! rollout waits, goes on without the host or puts the others back as it was told to, and in the end every host runs the same.

use super::{
    trio::{CANARY, FAR, Heals, IMPATIENT, NEAR, TROUBLES, Trio},
    wire::Swallows,
};

impl Trio {
    /// A rollout begins whose preparation of the far host does not come through.
    #[track_caller]
    fn prepares_behind(&self, what: Swallows, more: &[&str]) {
        self.wire.swallow(what);
        self.fleet.deploy_detached("1.1.0", &[&["--strategy", "all-at-once", "--soak", "0s"], more].concat());
        self.fleet.until_hosts(&NEAR, "prepared");
        assert_eq!(self.fleet.state(), "preparing");
    }

    /// The second wave's switch of the far host does not come through.
    #[track_caller]
    fn switches_behind(&self, what: Swallows, more: &[&str]) {
        self.fleet.deploy_detached("1.1.0", &[&CANARY[..], &["--soak", "0s"], more].concat());
        self.fleet.until("verifying");
        self.wire.swallow(what);
        self.fleet.json(&["promote"]);
        self.fleet.until_hosts(&["h2"], "switched");
        self.fleet.until_hosts(&[FAR], "sent");
        if what == Swallows::Answers {
            self.fleet.eventually("the far host has switched", || self.far().phase() == "probation");
        }
    }

    /// The far host's commit does not come through.
    #[track_caller]
    fn commits_behind(&self, what: Swallows, more: &[&str]) {
        self.all_are_watched(more);
        self.wire.swallow(what);
        self.fleet.json(&["promote"]);
        self.fleet.until_hosts(&NEAR, "committed");
        assert_eq!(self.fleet.state(), "committing");
        if what == Swallows::Answers {
            self.fleet.eventually("the far host has committed", || self.far().phase().is_empty());
        }
    }

    /// The far host's way back does not come through.
    #[track_caller]
    fn rolls_back_behind(&self, what: Swallows, more: &[&str]) {
        self.all_are_watched(more);
        self.wire.swallow(what);
        self.fleet.json(&["rollback", "counter", "--async"]);
        self.fleet.until_hosts(&NEAR, "rolled-back");
        assert_eq!(self.fleet.state(), "rolling-back");
        if what == Swallows::Answers {
            let is_back = || self.far().workload("counter")["version"] == "1.0.0";
            self.fleet.eventually("the far host has gone back", is_back);
        }
    }
}

#[test]
fn a_connection_that_fails_while_its_host_prepares_holds_the_rollout_up_and_no_more() {
    let trio = Trio::start();
    for (what, how) in TROUBLES {
        trio.prepares_behind(what, &[]);
        trio.heal(how);
        trio.fleet.ends_with(0);
        trio.fleet.settles(&trio.hosts, "1.1.0");
        trio.back_to_the_beginning();
    }
    // For longer than a host may take: nothing has changed anywhere, and what comes late changes nothing either.
    trio.prepares_behind(Swallows::Commands, &IMPATIENT);
    let ended = trio.fleet.ends_with(1);
    let why = ended["summary"]["why"].as_str().unwrap();
    assert!(why.contains("h3 did not answer within 3s"), "{ended}");
    trio.wire.heal();
    trio.fleet.settles(&trio.hosts, "1.0.0");
    trio.end();
}

#[test]
fn a_connection_that_fails_while_its_host_switches_is_waited_for() {
    let trio = Trio::start();
    for (what, how) in TROUBLES {
        trio.switches_behind(what, &[]);
        trio.heal(how);
        trio.fleet.ends_with(0);
        trio.fleet.settles(&trio.hosts, "1.1.0");
        trio.back_to_the_beginning();
    }
    trio.end();
}

#[test]
fn a_host_that_may_have_switched_and_does_not_answer_is_handled_as_the_rollout_was_told_to() {
    let trio = Trio::start();
    for (what, how) in [(Swallows::Commands, Heals::Late), (Swallows::Answers, Heals::Cut)] {
        // By default the others go back, and it is owed the way back, whether it has switched or not.
        trio.switches_behind(what, &IMPATIENT);
        let ended = trio.fleet.ends_with(6);
        assert_eq!(ended["summary"]["counts"]["unknown"], 1, "unknown, not failed: {ended}");
        trio.heal(how);
        trio.fleet.settles(&trio.hosts, "1.0.0");
        trio.fleet.until("rolled-back");
    }
    for (what, how) in [(Swallows::Commands, Heals::Late), (Swallows::Answers, Heals::Cut)] {
        trio.switches_behind(what, &[&IMPATIENT[..], &["--unreachable", "skip"]].concat());
        trio.fleet.ends_with(6);
        trio.heal(how);
        trio.fleet.settles(&trio.hosts, "1.1.0");
        trio.back_to_the_beginning();
    }
    trio.switches_behind(Swallows::Answers, &[&IMPATIENT[..], &["--unreachable", "pause"]].concat());
    let paused = trio.fleet.ends_with(7);
    assert!(paused["summary"]["why"].as_str().unwrap().contains("h3 did not answer in time"), "{paused}");
    trio.heal(Heals::Cut);
    trio.fleet.json(&["resume"]);
    trio.fleet.ends_with(0);
    trio.fleet.settles(&trio.hosts, "1.1.0");
    trio.end();
}

#[test]
fn a_connection_that_fails_while_probations_are_held_is_waited_for_before_anything_is_committed() {
    let trio = Trio::start();
    let soak = ["--strategy", "all-at-once", "--soak", "1h", "--retries", "0"];
    trio.fleet.deploy_detached("1.1.0", &soak);
    trio.fleet.until("verifying");
    trio.wire.cut();
    trio.fleet.until_connected(2);
    trio.fleet.json(&["promote"]);
    let why = trio.fleet.cli(&["fleet", "why"]);
    assert!(why.stdout.contains("waits for h3"), "{why:?}");
    assert!(trio.hosts.iter().all(|host| host.phase() == "probation"), "nobody commits without it");
    trio.wire.heal();
    trio.fleet.ends_with(0);
    trio.fleet.settles(&trio.hosts, "1.1.0");
    trio.back_to_the_beginning();

    // A connection that stands and says nothing: how the host is can't be found out, which is for a person.
    trio.fleet.deploy_detached("1.1.0", &soak);
    trio.fleet.until("verifying");
    trio.wire.swallow(Swallows::All);
    let paused = trio.fleet.ends_with(7);
    assert!(paused["summary"]["why"].as_str().unwrap().contains("health can't be found out"), "{paused}");
    trio.wire.heal();
    trio.fleet.json(&["resume"]);
    trio.fleet.json(&["promote"]);
    trio.fleet.ends_with(0);
    trio.fleet.settles(&trio.hosts, "1.1.0");
    trio.back_to_the_beginning();

    // For longer than a host may be away.
    trio.all_are_watched(&IMPATIENT);
    trio.wire.cut();
    let ended = trio.fleet.ends_with(6);
    assert_eq!(ended["summary"]["counts"]["unknown"], 1, "{ended}");
    assert_eq!(trio.far().phase(), "probation", "it is neither committed nor put back by the silence");
    trio.wire.heal();
    trio.fleet.settles(&trio.hosts, "1.0.0");
    trio.end();
}

#[test]
fn a_connection_that_fails_while_its_host_commits_changes_nothing_about_the_commit() {
    let trio = Trio::start();
    for (what, how) in TROUBLES {
        trio.commits_behind(what, &[]);
        trio.heal(how);
        trio.fleet.ends_with(0);
        trio.fleet.settles(&trio.hosts, "1.1.0");
        trio.back_to_the_beginning();
    }
    trio.commits_behind(Swallows::Commands, &IMPATIENT);
    let ended = trio.fleet.ends_with(6);
    assert_eq!((&ended["summary"]["state"], &ended["owed"]), (&"complete".into(), &[FAR][..].into()), "{ended}");
    assert_eq!(trio.far().phase(), "probation");
    trio.heal(Heals::Cut);
    trio.fleet.settles(&trio.hosts, "1.1.0");
    trio.end();
}

#[test]
fn a_connection_that_fails_while_its_host_goes_back_changes_nothing_about_the_way_back() {
    let trio = Trio::start();
    for (what, how) in TROUBLES {
        trio.rolls_back_behind(what, &[]);
        trio.heal(how);
        trio.fleet.ends_with(3);
        trio.fleet.settles(&trio.hosts, "1.0.0");
    }
    trio.rolls_back_behind(Swallows::Commands, &IMPATIENT);
    let ended = trio.fleet.ends_with(6);
    assert_eq!((&ended["summary"]["state"], &ended["owed"]), (&"rollback-incomplete".into(), &[FAR][..].into()));
    trio.heal(Heals::Cut);
    trio.fleet.settles(&trio.hosts, "1.0.0");
    trio.fleet.until("rolled-back");
    trio.end();
}
