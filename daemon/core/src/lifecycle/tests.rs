use super::*;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

fn ended(code: i32) -> Ended {
    Ended {
        code,
        started_at: Some(UNIX_EPOCH),
        finished_at: UNIX_EPOCH,
        oom_killed: false,
        memory_kills: 0,
        error: String::new(),
    }
}

fn states() -> Vec<State> {
    let started_at = UNIX_EPOCH;
    vec![
        State::Created,
        State::Preparing {
            start: false,
            last: None,
        },
        State::Preparing {
            start: true,
            last: None,
        },
        State::Prepared { pid: 7, last: None },
        State::Starting { pid: 7, last: None },
        State::Running { pid: 7, started_at },
        State::Pausing { pid: 7, started_at },
        State::Paused { pid: 7, started_at },
        State::Resuming { pid: 7, started_at },
        State::Clearing {
            ended: Some(ended(0)),
            start: false,
        },
        State::Clearing {
            ended: Some(ended(0)),
            start: true,
        },
        State::Clearing {
            ended: None,
            start: false,
        },
        State::Exited { ended: ended(0) },
        State::Restarting { ended: ended(1) },
        State::Removing { ended: None },
        State::Dead {
            ended: None,
            reason: "busy".into(),
        },
        State::Removed,
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::Prepare,
        Event::Start,
        Event::Kill { signal: 15 },
        Event::Kill { signal: 9 },
        Event::Pause,
        Event::Resume,
        Event::Remove,
        Event::Prepared { pid: 7 },
        Event::Failed {
            ended: ended(127),
            kind: ErrorKind::CommandNotFound,
        },
        Event::Started { at: UNIX_EPOCH },
        Event::PauseDone { ok: true },
        Event::PauseDone { ok: false },
        Event::ResumeDone { ok: true },
        Event::ResumeDone { ok: false },
        Event::Exit { ended: ended(1) },
        Event::Cleared,
        Event::Gone,
        Event::Stuck { reason: "busy".into() },
        Event::Expired,
        Event::Retry,
        Event::Backoff,
        Event::Again,
        Event::GiveUp,
    ]
}

fn short(debug: String) -> String {
    debug.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

/// The table of states by events, as `docs/lifecycle.md` shows it.
fn table() -> String {
    let mut text = String::from("| state | event | next | effects |\n|---|---|---|---|\n");
    for state in states() {
        for event in events() {
            let (next, effects) = step(state.clone(), event.clone());
            if next == state && effects.is_empty() {
                continue;
            }
            let start = match &state {
                State::Preparing { start: true, .. } | State::Clearing { start: true, .. } => "+start",
                _ => "",
            };
            let effects: Vec<String> = effects.iter().map(|effect| format!("{effect:?}")).collect();
            let event = match &event {
                Event::Kill { signal } => format!("Kill {signal}"),
                Event::PauseDone { ok } => format!("PauseDone {ok}"),
                Event::ResumeDone { ok } => format!("ResumeDone {ok}"),
                other => short(format!("{other:?}")),
            };
            writeln!(
                text,
                "| {}{start} | {event} | {} | {} |",
                short(format!("{state:?}")),
                short(format!("{next:?}")),
                effects.join(", ")
            )
            .expect("writing to a string");
        }
    }
    text
}

#[test]
fn golden_table_matches_the_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lifecycle.md");
    let document = std::fs::read_to_string(path).expect("docs/lifecycle.md");
    let printed = table();
    if std::env::var_os("GANTRY_PRINT_TABLE").is_some() {
        println!("{printed}");
    }
    assert!(
        document.ends_with(&printed),
        "docs/lifecycle.md differs from the code; print it with GANTRY_PRINT_TABLE=1"
    );
}

/// A small deterministic generator, so that a failing walk can be repeated.
struct Walk(u64);

impl Walk {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn a_random_walk_never_leaves_the_rules() {
    let mut walk = Walk(0x9e37_79b9_7f4a_7c15);
    let events = events();
    for _ in 0..2_000 {
        let mut state = State::Created;
        for _ in 0..60 {
            let before = state.clone();
            let event = events[walk.next(events.len())].clone();
            let (next, effects) = step(state, event.clone());
            check(&before, &event, &next, &effects);
            state = next;
        }
    }
}

fn check(before: &State, event: &Event, next: &State, effects: &[Effect]) {
    let at = format!("{before:?} + {event:?} -> {next:?} {effects:?}");
    if *before == State::Removed {
        assert_eq!(next, before, "nothing follows the end: {at}");
    }
    if effects.contains(&Effect::Delete) {
        assert!(
            matches!(next, State::Removing { .. }),
            "deletion is recorded first: {at}"
        );
        assert!(!before.is_running(), "nothing running is deleted: {at}");
    }
    if effects.contains(&Effect::Prepare) {
        assert!(matches!(next, State::Preparing { .. }), "intent before effect: {at}");
    }
    if before.is_running() && !next.is_running() {
        assert!(matches!(event, Event::Exit { .. }), "only an exit ends a run: {at}");
        assert!(effects.contains(&Effect::Clear), "what ran is cleared: {at}");
    }
    if matches!(next, State::Clearing { .. }) && !matches!(before, State::Clearing { .. }) {
        assert!(effects.contains(&Effect::Clear), "clearing is done: {at}");
    }
    let answers = effects
        .iter()
        .filter(|e| matches!(e, Effect::Done(_) | Effect::Refuse(..)))
        .count();
    assert!(answers <= 2, "nobody is answered twice: {at}");
}

#[test]
fn an_exit_keeps_its_code() {
    let running = State::Running {
        pid: 3,
        started_at: UNIX_EPOCH + Duration::from_secs(1),
    };
    let (state, _) = step(running, Event::Exit { ended: ended(7) });
    let (state, _) = step(state, Event::Cleared);
    assert_eq!(state.ended().map(|ended| ended.code), Some(7));
    assert_eq!(state.status(), Status::Exited);
}

#[test]
fn a_start_while_clearing_is_not_lost() {
    let (state, _) = step(
        State::Clearing {
            ended: Some(ended(0)),
            start: false,
        },
        Event::Start,
    );
    let (state, effects) = step(state, Event::Cleared);
    assert!(matches!(state, State::Preparing { start: true, .. }));
    assert_eq!(effects, vec![Effect::Prepare]);
}
