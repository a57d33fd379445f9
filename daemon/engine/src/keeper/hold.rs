//! A hold on a container: while there is one, its end is no end, so neither `--rm` nor its policy comes between.

use super::{Keeper, Message};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::error::TrySendError;

/// Several may hold at once; the last to let go has the keeper look at what was put off.
pub(crate) struct Hold {
    keeper: Arc<Keeper>,
}

impl Keeper {
    /// Holds it from now on, until what is answered is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.holds.fetch_add(1, Ordering::SeqCst);
        Hold { keeper: self.clone() }
    }

    pub(super) fn is_held(&self) -> bool {
        self.holds.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.keeper.holds.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        match self.keeper.inbox.try_send(Message::Released) {
            // A keeper that is gone has nothing to look at.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(message)) => {
                let inbox = self.keeper.inbox.clone();
                tokio::spawn(async move { inbox.send(message).await });
            }
        }
    }
}
