//! The tests that run the whole server.

mod harness;
mod routes;
