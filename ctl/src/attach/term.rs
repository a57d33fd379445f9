//! The user's terminal: its size, raw mode, and how it is put back whatever happens.

use std::sync::Mutex;
use std::sync::Once;

use rustix::stdio;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// How the terminal was before raw mode, while it is raw.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

pub(crate) fn stdin_is_terminal() -> bool {
    rustix::termios::isatty(stdio::stdin())
}

pub(crate) fn stdout_is_terminal() -> bool {
    rustix::termios::isatty(stdio::stdout())
}

pub(crate) fn stderr_is_terminal() -> bool {
    rustix::termios::isatty(stdio::stderr())
}

/// Height and width of the terminal that stdout is.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdio::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Columns to write into.
pub(crate) fn width() -> usize {
    size().map_or(80, |(_, width)| usize::from(width))
}

/// Raw mode, until dropped.
pub(crate) struct Raw(());

impl Raw {
    /// Every key reaches the container, ^C and ^Z too.
    pub(crate) fn enter() -> std::io::Result<Self> {
        let before = tcgetattr(stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        put_back_on_panic();
        if let Ok(mut saved) = SAVED.lock() {
            saved.get_or_insert(before);
        }
        tcsetattr(stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back if it is raw. For every way out of the program.
pub(crate) fn restore() {
    let saved = match SAVED.lock() {
        Ok(mut saved) => saved.take(),
        Err(poisoned) => poisoned.into_inner().take(),
    };
    if let Some(before) = saved {
        // The terminal may be gone: then there is nothing to put back.
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &before);
    }
}

fn put_back_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            usual(panic);
        }));
    });
}
