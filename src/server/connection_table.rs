//! The event loop's table of connections: those that are parked with the event loop, and those that a worker has.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::connection::{ACTIVITIES, Activity, Connection};
use super::events::Snapshot;
use super::socket::Readiness;
use crate::metrics::Connections;

/// All connections of the event loop, by token.
#[derive(Default)]
pub(super) struct ConnectionTable {
    slots: HashMap<u64, Slot>,
    last_token: u64,
    /// The deadlines of the parked connections, by activity. The first one of each has been without progress for longest.
    deadlines: [BTreeSet<(Instant, u64)>; ACTIVITIES],
    /// How much memory unsent responses hold, in bytes.
    pub(super) held_bytes: usize,
}

struct Slot {
    client: IpAddr,
    /// `None` while a worker has the connection.
    parked: Option<Parked>,
    /// What events have said since the connection was stepped last.
    readiness: Readiness,
}

/// A parked connection, and what it was counted as.
struct Parked {
    connection: Box<Connection>,
    activity: Activity,
    held_bytes: usize,
}

impl ConnectionTable {
    /// Makes a slot for a new connection. Returns its token, which is never used again.
    pub(super) fn reserve(&mut self, client: IpAddr) -> u64 {
        self.last_token += 1;
        self.slots.insert(self.last_token, Slot { client, parked: None, readiness: Readiness::default() });
        self.last_token
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Removes the slot of a connection that is not parked.
    pub(super) fn forget(&mut self, token: u64) {
        self.slots.remove(&token);
    }

    /// Parks a connection until its next event or its deadline.
    pub(super) fn park(&mut self, connection: Box<Connection>) {
        let (token, deadline) = (connection.token, connection.deadline);
        let (activity, held_bytes) = (connection.activity(), connection.held_bytes());
        let Some(slot) = self.slots.get_mut(&token) else { return };
        slot.parked = Some(Parked { connection, activity, held_bytes });
        self.deadlines[activity as usize].insert((deadline, token));
        self.held_bytes += held_bytes;
    }

    /// Takes a connection, if it is parked. Its slot stays.
    pub(super) fn unpark(&mut self, token: u64) -> Option<Box<Connection>> {
        let Parked { connection, activity, held_bytes } = self.slots.get_mut(&token)?.parked.take()?;
        self.deadlines[activity as usize].remove(&(connection.deadline, token));
        self.held_bytes -= held_bytes;
        Some(connection)
    }

    /// Takes a connection, if it is parked, and removes its slot.
    fn remove(&mut self, token: u64) -> Option<Box<Connection>> {
        let connection = self.unpark(token)?;
        self.slots.remove(&token);
        Some(connection)
    }

    /// Notes an event of a connection's socket. Returns whether the connection is parked and has something to do.
    pub(super) fn note_ready(&mut self, token: u64, readiness: Readiness) -> bool {
        let Some(slot) = self.slots.get_mut(&token) else { return false };
        slot.readiness.merge(readiness);
        let is_sending = |parked: &Parked| parked.activity == Activity::Sending;
        let Readiness { readable, writable, .. } = slot.readiness;
        slot.parked.as_ref().is_some_and(|parked| readable || (writable && is_sending(parked)))
    }

    /// What events have said of a connection since this was asked last.
    pub(super) fn take_readiness(&mut self, token: u64) -> Readiness {
        self.slots.get_mut(&token).map(|slot| std::mem::take(&mut slot.readiness)).unwrap_or_default()
    }

    /// The parked connection whose deadline comes next.
    pub(super) fn next_deadline(&self) -> Option<(Instant, u64)> {
        self.deadlines.iter().filter_map(BTreeSet::first).min().copied()
    }

    /// Takes the connection with this activity whose deadline comes next, if it is not later than `latest`.
    pub(super) fn unpark_first(&mut self, activity: Activity, latest: Instant) -> Option<Box<Connection>> {
        let (_, token) = self.first(activity).filter(|(deadline, _)| *deadline <= latest)?;
        self.unpark(token)
    }

    /// Takes the connection whose response has been without progress for longest. `None` if there is only one.
    pub(super) fn remove_longest_sending(&mut self) -> Option<Box<Connection>> {
        let (_, token) = self.first(Activity::Sending).filter(|_| self.count(Activity::Sending) > 1)?;
        self.remove(token)
    }

    fn first(&self, activity: Activity) -> Option<(Instant, u64)> {
        self.deadlines[activity as usize].first().copied()
    }

    /// How many parked connections have this activity.
    pub(super) fn count(&self, activity: Activity) -> usize {
        self.deadlines[activity as usize].len()
    }

    /// Closes the connections that have no response under way.
    pub(super) fn remove_without_response(&mut self) {
        for activity in [Activity::Idle, Activity::Reading] {
            while let Some((_, token)) = self.first(activity) {
                self.remove(token);
            }
        }
    }

    pub(super) fn parked(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.slots.values_mut().filter_map(|slot| slot.parked.as_mut()).map(|parked| &mut *parked.connection)
    }

    /// Publishes how many connections there are, by what they do.
    pub(super) fn publish_counts(&self, connections: &Connections) {
        connections.open.store(self.slots.len(), Ordering::SeqCst);
        let reading = self.count(Activity::Reading) + self.count(Activity::Closing);
        connections.set_states(self.count(Activity::Idle), reading, self.count(Activity::Sending));
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let activity = |slot: &Slot| slot.parked.as_ref().map_or(Activity::Working, |parked| parked.activity);
        self.slots.values().map(|slot| (slot.client, activity(slot))).collect()
    }
}
