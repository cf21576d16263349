//! What the lobby does for the connections that lanes keep.

use std::time::{Duration, Instant};

use super::{Arrival, Lobby};
use crate::server::regulars::{Regular, Regulars};

/// How long a lane keeps a connection without a word from it.
const LANES_KEEP: Duration = Duration::from_secs(3);

impl Lobby {
    /// Sees to those whom a lane keeps: to those who ask for something where all its workers are busy, and to those who
    /// have not asked for anything for a while.
    pub(super) fn look_after_lanes(&mut self) {
        let pool = self.pool.clone();
        if self.shared.are_lanes_watched() {
            let helped = pool.all_regulars().filter(|regulars| regulars.need_help());
            for regular in helped.flat_map(Regulars::take_called) {
                self.take_over(regular, Instant::now());
            }
            if !pool.all_regulars().any(Regulars::need_help) {
                self.shared.leave_lanes();
                // A worker that has become busy meanwhile took it that somebody watched.
                if pool.all_regulars().any(Regulars::need_help) {
                    self.shared.watch_lanes();
                }
            }
        }
        let limits = &self.shared.limits;
        let kept = LANES_KEEP.min(limits.idle_timeout / 2).min(limits.write_timeout / 2);
        let Some(moment) = Instant::now().checked_sub(kept) else { return };
        for regulars in pool.all_regulars() {
            while let Some((regular, since)) = regulars.take_longest(moment) {
                self.take_over(regular, since);
            }
        }
    }

    /// Takes in all whom the lanes keep.
    pub(super) fn take_over_lanes(&mut self) {
        for regular in self.pool.clone().all_regulars().flat_map(Regulars::take_all) {
            self.take_over(regular, Instant::now());
        }
    }

    /// Takes in a connection that a lane kept and that has been quiet since some time.
    fn take_over(&mut self, regular: Regular, since: Instant) {
        let Regular { connection, answer, .. } = regular;
        let arrival = match answer {
            Some(outgoing) => Arrival::Sending(connection, outgoing),
            None => Arrival::Waiting(connection),
        };
        self.welcome(arrival, since);
    }

    /// Sends the guest away that has been idle for longest; whether there was one.
    pub(super) fn evict(&mut self) -> bool {
        // The one may be with a lane.
        let pool = self.pool.clone();
        let idle_timeout = self.shared.limits.idle_timeout;
        loop {
            let here = self.idle.first().and_then(|(deadline, _)| deadline.checked_sub(idle_timeout));
            let moment = here.unwrap_or_else(Instant::now);
            let longer = pool.all_regulars().find_map(|regulars| regulars.take_longest(moment));
            let Some((regular, since)) = longer else { break };
            self.take_over(regular, since);
        }
        let Some((_, token)) = self.idle.first().copied() else { return false };
        self.shared.metrics.connections.dropped("evicted");
        self.take(token).is_some()
    }
}
