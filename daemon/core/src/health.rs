//! Whether a container is well: a pure account of what its probes said.

use crate::container::HealthCheck;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// Results that are remembered.
const LOG: usize = 5;
/// Bytes of a probe's output that are kept.
pub const OUTPUT: usize = 4096;
const INTERVAL: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub status: HealthStatus,
    /// Probes that failed one after another.
    pub failing: u32,
    /// The last few, oldest first.
    pub log: VecDeque<Probe>,
}

/// What one probe came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    pub start: SystemTime,
    pub end: SystemTime,
    /// 0 = well; -1 = it took too long.
    pub code: i32,
    pub output: String,
}

/// A check with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub start_interval: Duration,
    pub retries: u32,
}

impl Schedule {
    pub fn of(check: &HealthCheck) -> Self {
        let or = |nanos: i64, default: Duration| match u64::try_from(nanos) {
            Ok(0) | Err(_) => default,
            Ok(nanos) => Duration::from_nanos(nanos),
        };
        Self {
            interval: or(check.interval, INTERVAL),
            timeout: or(check.timeout, INTERVAL),
            start_period: or(check.start_period, Duration::ZERO),
            start_interval: or(check.start_interval, START_INTERVAL),
            retries: u32::try_from(check.retries)
                .ok()
                .filter(|count| *count > 0)
                .unwrap_or(RETRIES),
        }
    }

    /// How long to wait for the next probe of a container that has run for so long.
    pub fn pause(&self, health: &Health, ran: Duration) -> Duration {
        match health.status {
            HealthStatus::Starting if ran < self.start_period => self.start_interval,
            _ => self.interval,
        }
    }
}

impl Health {
    /// Takes a result; whether the status is another now. A failure in the start period does not count.
    pub fn take(&mut self, probe: Probe, schedule: &Schedule, ran: Duration) -> bool {
        let before = self.status;
        match probe.code {
            0 => {
                self.failing = 0;
                self.status = HealthStatus::Healthy;
            }
            _ if self.status == HealthStatus::Starting && ran < schedule.start_period => {}
            _ => {
                self.failing = self.failing.saturating_add(1);
                if self.failing >= schedule.retries {
                    self.status = HealthStatus::Unhealthy;
                }
            }
        }
        self.log.push_back(probe);
        while self.log.len() > LOG {
            self.log.pop_front();
        }
        before != self.status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn probe(code: i32) -> Probe {
        Probe {
            start: UNIX_EPOCH,
            end: UNIX_EPOCH,
            code,
            output: String::new(),
        }
    }

    #[test]
    fn three_failures_and_one_success() {
        let schedule = Schedule::of(&HealthCheck::default());
        let (mut health, ran) = (Health::default(), Duration::from_secs(100));
        let mut changed = |code| health.take(probe(code), &schedule, ran);
        assert!(!changed(1) && !changed(-1) && changed(1) && !changed(1));
        assert!(changed(0) && !changed(0) && !changed(2));
        assert_eq!(
            (health.status, health.failing, health.log.len()),
            (HealthStatus::Healthy, 1, LOG)
        );
    }

    #[test]
    fn failures_while_it_starts_do_not_count() {
        let schedule = Schedule::of(&HealthCheck {
            start_period: 10_000_000_000,
            retries: 1,
            ..HealthCheck::default()
        });
        let (mut health, early, late) = (Health::default(), Duration::from_secs(5), Duration::from_secs(11));
        assert!(!health.take(probe(1), &schedule, early));
        assert_eq!(schedule.pause(&health, early), START_INTERVAL);
        assert_eq!(schedule.pause(&health, late), INTERVAL);
        assert!(health.take(probe(1), &schedule, late));
        assert_eq!(health.status, HealthStatus::Unhealthy);
    }
}
