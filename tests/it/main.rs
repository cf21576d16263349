//! The tests that run the whole server.
