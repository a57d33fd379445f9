//! What is told of a change of state.

use super::actor::Actor;
use crate::events::Event as Told;
use gantry_core::Labels;
use gantry_core::container::Ended;
use gantry_core::lifecycle::{Effect, Event, State};

impl Actor {
    pub(super) async fn tell_signal(&self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Signal(signal) = effect {
                let told = self.event("kill", [("signal".to_owned(), signal.to_string())]);
                self.context.tell(vec![told]).await;
            }
        }
    }

    pub(super) fn event<const N: usize>(&self, action: &str, extra: [(String, String); N]) -> Told {
        self.context
            .container_event(&self.keeper.record(), action, extra.into_iter().collect())
    }

    /// The events that a change of state is.
    pub(super) fn told(&self, before: &State, event: &Event, next: &State) -> Vec<Told> {
        let mut told = Vec::new();
        let starting = matches!(before, State::Starting { .. });
        match (event, next) {
            (Event::Started { .. }, State::Running { .. }) => {
                told.extend(self.beginning());
            }
            (Event::PauseDone { ok: true }, State::Paused { .. }) => told.push(self.event("pause", [])),
            (Event::ResumeDone { ok: true }, State::Running { .. }) => told.push(self.event("unpause", [])),
            (Event::Exit { ended }, State::Clearing { .. }) if starting => {
                told.extend(self.beginning());
                told.extend(self.death(ended));
            }
            (Event::Exit { ended }, State::Clearing { .. }) if before.is_running() => told.extend(self.death(ended)),
            // What never ran does not die. Whoever prepares and then starts it hears of the failure when it is started.
            (Event::Failed { .. }, State::Clearing { .. })
                if !matches!(before, State::Preparing { start: false, .. }) =>
            {
                told.extend(self.context.networks.told(self.keeper.id(), "connect"));
                told.extend(self.context.networks.told(self.keeper.id(), "disconnect"));
            }
            (Event::Kill { signal }, _) => told.push(self.event("kill", [("signal".to_owned(), signal.to_string())])),
            _ => {}
        }
        told
    }

    fn beginning(&self) -> Vec<Told> {
        let mut told = self.context.volumes.told(&self.keeper.record(), "mount");
        told.extend(self.context.networks.told(self.keeper.id(), "connect"));
        told.push(self.event("start", []));
        told
    }

    fn death(&self, ended: &Ended) -> Vec<Told> {
        let mut told = Vec::new();
        let untold = ended.memory_kills > self.memory_kills || self.memory_kills == 0;
        if ended.oom_killed && untold {
            told.push(self.event("oom", []));
        }
        let mut attributes: Labels = [("exitCode".to_owned(), ended.code.to_string())].into();
        if let Some(ran) = ended
            .started_at
            .and_then(|started| ended.finished_at.duration_since(started).ok())
        {
            attributes.insert("execDuration".to_owned(), ran.as_secs().to_string());
        }
        told.push(self.context.container_event(&self.keeper.record(), "die", attributes));
        told.extend(self.context.networks.told(self.keeper.id(), "disconnect"));
        if ended.started_at.is_some() {
            told.extend(self.context.volumes.told(&self.keeper.record(), "unmount"));
        }
        told
    }
}
