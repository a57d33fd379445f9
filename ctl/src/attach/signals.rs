//! Signals while attached: passed on to the container, or the terminal put back before they end us.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// What is passed on by --sig-proxy. Job control stays with the user's shell.
const PROXIED: [(i32, &str); 11] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (26, "VTALRM"),
    (27, "PROF"),
    (29, "IO"),
    (30, "PWR"),
];
/// What would end us with the terminal raw.
const FATAL: [(i32, &str); 4] = [(1, "HUP"), (2, "INT"), (3, "QUIT"), (15, "TERM")];
const WINDOW_CHANGED: i32 = 28;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Forward(i32, &'static str),
    /// End with this code.
    Die(i32),
    Resize,
}

/// The signals that are caught.
pub(crate) struct Signals(Vec<(Signal, Asked)>);

impl Signals {
    /// Nothing is caught but what is needed, so that an unattended tool dies of what kills any program.
    pub(crate) fn catch(proxy: bool, raw: bool, resize: bool) -> Result<Self> {
        let mut wanted = Vec::new();
        if proxy {
            wanted.extend(PROXIED.map(|(number, name)| (number, Asked::Forward(number, name))));
        } else if raw {
            wanted.extend(FATAL.map(|(number, _)| (number, Asked::Die(128 + number))));
        }
        if resize {
            wanted.push((WINDOW_CHANGED, Asked::Resize));
        }
        let open = |(number, asked)| Ok((signal(SignalKind::from_raw(number))?, asked));
        let caught = wanted.into_iter().map(open).collect::<std::io::Result<_>>();
        caught.map(Self).map_err(Error::io("catch signals"))
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Asked {
        poll_fn(|cx| {
            for (signal, asked) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return Poll::Ready(*asked);
                }
            }
            Poll::Pending
        })
        .await
    }
}
