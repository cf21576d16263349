//! The tests that run the whole server.

mod abuse;
mod binary;
mod check;
mod console;
mod cut_engine;
mod cut_failures;
mod cut_holes;
mod cuts;
mod deploy;
mod footage;
mod harness;
mod large;
mod logs;
mod made;
mod metrics;
mod players;
mod playlists;
mod process;
mod recording;
mod routes;
mod security;
mod selection;
mod shortage;
mod tidy;
mod transport;
