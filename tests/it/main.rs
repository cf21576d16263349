//! The tests that run the whole server.

mod abuse;
mod cut_engine;
mod cut_failures;
mod cut_holes;
mod cuts;
mod footage;
mod harness;
mod made;
mod playlists;
mod process;
mod routes;
mod selection;
mod shortage;
mod tidy;
mod transport;
