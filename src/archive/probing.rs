//! The thread that asks ffprobe about segments, so that nobody who serves a request waits for ffprobe.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;

use crate::error::Result;
use crate::ffmpeg::Ffprobe;

/// How many questions may wait. Each holds an open file.
const QUEUE: usize = 16;

/// A question for ffprobe.
pub(super) struct Question {
    /// An open segment.
    pub(super) file: File,
    /// The program to ask.
    pub(super) ffprobe: Ffprobe,
    /// Takes the answer, on the thread. It is dropped if there will be no answer.
    pub(super) done: Box<dyn FnOnce(Result<Value>) + Send>,
}

/// Asks ffprobe one question after another. The thread starts with the first question; dropping this kills a running
/// ffprobe and joins the thread.
#[derive(Debug, Default)]
pub(super) struct ProbeQueue {
    thread: Mutex<Option<(Sender<Question>, JoinHandle<()>)>>,
    is_stopping: Arc<AtomicBool>,
}

impl ProbeQueue {
    /// Puts a question into the queue. Returns whether it is there: the queue may be full, and the system may refuse the
    /// thread.
    pub(super) fn ask(&self, question: Question) -> bool {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            match self.start() {
                Ok(started) => *thread = Some(started),
                Err(error) => log::warn!("cannot start a thread for ffprobe: {error}"),
            }
        }
        thread.as_ref().is_some_and(|(queue, _)| queue.try_send(question).is_ok())
    }

    fn start(&self) -> io::Result<(Sender<Question>, JoinHandle<()>)> {
        let (queue, questions) = bounded(QUEUE);
        let is_stopping = Arc::clone(&self.is_stopping);
        let thread =
            Builder::new().name("ffprobe".to_owned()).spawn(move || run(&questions, &is_stopping))?;
        Ok((queue, thread))
    }
}

fn run(questions: &Receiver<Question>, is_stopping: &AtomicBool) {
    let is_cancelled = || is_stopping.load(Ordering::Relaxed);
    for Question { file, ffprobe, done } in questions {
        if is_cancelled() {
            return;
        }
        done(ffprobe.streams(file, &is_cancelled));
    }
}

impl Drop for ProbeQueue {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((queue, thread)) = thread.take() {
            drop(queue);
            if thread.join().is_err() {
                log::error!("the thread `ffprobe` panicked");
            }
        }
    }
}
