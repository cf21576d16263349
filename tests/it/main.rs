//! The tests that run the whole server.

mod harness;
mod made;
mod playlists;
mod routes;
mod selection;
mod tidy;
mod transport;
