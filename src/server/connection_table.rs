//! The event loop's table of connections: those that are parked with the event loop, and those that a worker has.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::connection::{Activity, Connection};
use super::events::Snapshot;
use super::socket::Readiness;
use crate::metrics::Connections;

/// All connections of the event loop, by token.
#[derive(Default)]
pub(super) struct ConnectionTable {
    slots: HashMap<u64, Slot>,
    last_token: u64,
    /// The parked connections, by deadline.
    deadlines: BTreeSet<(Instant, u64)>,
    /// The parked connections that are idle, by deadline. The first one has been idle for longest.
    idle: BTreeSet<(Instant, u64)>,
    /// How many parked connections send a response.
    sending: usize,
    /// Those whose unsent responses hold memory, by deadline. The first one has been without progress for longest.
    holding: BTreeSet<(Instant, u64)>,
    /// How much memory it is, in bytes.
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
        self.deadlines.insert((deadline, token));
        if activity == Activity::Idle {
            self.idle.insert((deadline, token));
        }
        if held_bytes > 0 {
            self.holding.insert((deadline, token));
        }
        self.sending += usize::from(activity == Activity::Sending);
        self.held_bytes += held_bytes;
    }

    /// Takes a connection, if it is parked. Its slot stays.
    pub(super) fn unpark(&mut self, token: u64) -> Option<Box<Connection>> {
        let Parked { connection, activity, held_bytes } = self.slots.get_mut(&token)?.parked.take()?;
        let key = (connection.deadline, token);
        self.deadlines.remove(&key);
        self.idle.remove(&key);
        self.holding.remove(&key);
        self.sending -= usize::from(activity == Activity::Sending);
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
        self.deadlines.first().copied()
    }

    /// Closes the connection that has been idle for longest. Returns whether there was one.
    pub(super) fn evict_idle(&mut self) -> bool {
        self.idle.first().copied().and_then(|(_, token)| self.remove(token)).is_some()
    }

    /// Takes the connection that holds memory and has been without progress for longest. `None` if only one holds any.
    pub(super) fn remove_longest_holding(&mut self) -> Option<Box<Connection>> {
        let (_, longest) = self.holding.first().copied().filter(|_| self.holding.len() > 1)?;
        self.remove(longest)
    }

    /// Closes the connections that have no response under way.
    pub(super) fn remove_without_response(&mut self) {
        let waiting =
            |slot: &Slot| slot.parked.as_ref().is_some_and(|parked| parked.connection.is_before_response());
        let tokens = self.slots.iter().filter(|(_, slot)| waiting(slot)).map(|(token, _)| *token);
        for token in tokens.collect::<Vec<_>>() {
            self.remove(token);
        }
    }

    pub(super) fn parked(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.slots.values_mut().filter_map(|slot| slot.parked.as_mut()).map(|parked| &mut *parked.connection)
    }

    /// Publishes how many connections there are, by what they do.
    pub(super) fn publish_counts(&self, connections: &Connections) {
        let (idle, sending) = (self.idle.len(), self.sending);
        connections.open.store(self.slots.len(), Ordering::SeqCst);
        connections.set_states(idle, self.deadlines.len().saturating_sub(idle + sending), sending);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let activity = |slot: &Slot| slot.parked.as_ref().map_or(Activity::Working, |parked| parked.activity);
        self.slots.values().map(|slot| (slot.client, activity(slot))).collect()
    }
}
