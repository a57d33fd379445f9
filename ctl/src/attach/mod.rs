//! Being attached: a shim's socket on one side, the user's terminal or pipes on the other.

pub(crate) mod keys;
mod session;
mod signals;
pub(crate) mod term;

use gantry_proto::gantry::v1 as pb;

pub(crate) use session::{End, Session, Streams};
use signals::{Asked, Signals};

use crate::client::Daemon;
use crate::error::{Error, Result};

/// Who gets the user's signals.
pub(crate) enum Proxy {
    Nobody,
    Container(String),
}

/// A session that is ready to run: the terminal is raw and has told its size, signals are caught.
pub(crate) struct Attached {
    session: Session,
    signals: Signals,
    raw: Option<term::Raw>,
    proxy: Proxy,
    resize: bool,
}

/// Fails early where a terminal is asked for and there is none.
pub(crate) fn check_terminal(tty: bool, stdin: bool) -> Result<()> {
    if tty && stdin && !term::stdin_is_terminal() {
        return Err(Error::Bare("the input device is not a TTY"));
    }
    Ok(())
}

impl Attached {
    /// Connects; from here on no byte is missed. With `redraw` a full-screen program is made to draw itself anew.
    pub(crate) fn open(endpoint: &pb::AttachEndpoint, streams: Streams, proxy: Proxy, redraw: bool) -> Result<Self> {
        let raw = endpoint.tty && streams.stdin && term::stdin_is_terminal();
        tracing::debug!(socket = endpoint.socket, exec = endpoint.exec, "attaching to the shim");
        let session = Session::open(endpoint, streams)?;
        let proxy = if endpoint.tty { Proxy::Nobody } else { proxy };
        let resize = endpoint.tty && term::stdout_is_terminal();
        let signals = Signals::catch(matches!(proxy, Proxy::Container(_)), raw, resize)?;
        let raw = if raw {
            Some(term::Raw::enter().map_err(Error::io("make the terminal raw"))?)
        } else {
            None
        };
        if resize {
            session.control().resize(redraw);
        }
        Ok(Self {
            session,
            signals,
            raw,
            proxy,
            resize,
        })
    }

    /// Moves bytes until the process ends or the user leaves.
    pub(crate) async fn run(self, daemon: &Daemon) -> Result<End> {
        let Self {
            session,
            mut signals,
            raw,
            proxy,
            resize,
        } = self;
        let control = session.control();
        let mut told = session.pump()?;
        if resize {
            // A terminal that came to be only when its process started has not heard of its size.
            control.resize(false);
        }
        let end = loop {
            tokio::select! {
                end = told.recv() => break end.unwrap_or(Ok(End::Lost)),
                asked = signals.next() => match asked {
                    Asked::Resize => control.resize(false),
                    Asked::Die(code) => {
                        term::restore();
                        std::process::exit(code);
                    }
                    Asked::Forward(number, name) => forward(daemon, &proxy, control.clone(), number, name),
                },
            }
        };
        drop(raw);
        end
    }
}

/// Sends a signal by the daemon, which notes it, or past a daemon that is away.
fn forward(daemon: &Daemon, proxy: &Proxy, control: session::Control, number: i32, name: &'static str) {
    let Proxy::Container(container) = proxy else { return };
    let request = pb::KillContainerRequest {
        container: container.clone(),
        signal: name.to_owned(),
    };
    let daemon = daemon.clone();
    tokio::spawn(async move {
        match daemon.containers().kill(request).await {
            Err(status) if crate::client::went_away(&status) => control.signal(number),
            // The container has just ended, and its exit is on its way.
            _ => {}
        }
    });
}
