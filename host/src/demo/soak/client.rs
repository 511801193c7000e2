//! One client connection: does what its behaviour says, and writes down what happens.

use std::{collections::VecDeque, io, sync::Arc};

use tokio::{
    net::{TcpSocket, TcpStream},
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    behaviour::{Behaviour, Move},
    clients::{Shelf, Stage},
    dice::Dice,
    record::{Answer, End, Entry, Line, Record, Told},
};

/// Bytes read at once: some hundred answers, and small enough for the stack.
const READ_BYTES: usize = 4096;

/// Longest line that is put together from pieces; answers are shorter, and what is not ends the connection.
const LINE_LIMIT_BYTES: usize = 4096;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    number: u64,
    behaviour: Behaviour,
    dice: Dice,
    shelf: Arc<Shelf>,
    stage: watch::Receiver<Stage>,
    stream: TcpStream,
    /// Moves made.
    moves: u64,
    next: (Instant, Move),
    /// Reads nothing until then.
    held: Option<Instant>,
    /// Bytes that the system did not take yet.
    outgoing: VecDeque<u8>,
    /// The lines that end in them, with the number of bytes up to their end.
    ending: VecDeque<(usize, Line)>,
    /// A line's beginning is out.
    half: bool,
    leaving: bool,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    entries: Vec<Entry>,
    /// Lines without their answer, and wishes to be reminded.
    waiting: i64,
    /// What it was told last when it handed in.
    before: Option<Told>,
    /// The round it has handed in.
    handed_in: u64,
}

impl Client {
    /// Connects and lives until one side ends it. What it wrote down is on the shelf then.
    pub(super) async fn live(
        number: u64,
        behaviour: Behaviour,
        mut dice: Dice,
        address: std::net::SocketAddr,
        shelf: Arc<Shelf>,
        stage: watch::Receiver<Stage>,
    ) {
        let stream = match connect(behaviour, address).await {
            Ok(stream) => stream,
            Err(error) => {
                let end = End::Lost { at: shelf.now(), why: format!("could not connect: {error}") };
                let entries = Vec::new();
                shelf.ended(Record { client: number, behaviour: behaviour.name(), before: None, entries, end });
                return;
            }
        };
        let (wait, next) = behaviour.next(0, &mut dice);
        let client = Self {
            number,
            behaviour,
            dice,
            shelf,
            stage,
            stream,
            moves: 1,
            next: (Instant::now() + wait, next),
            held: None,
            outgoing: VecDeque::new(),
            ending: VecDeque::new(),
            half: false,
            leaving: false,
            partial: Vec::new(),
            entries: Vec::new(),
            waiting: 0,
            before: None,
            handed_in: 0,
        };
        client.run().await;
    }

    async fn run(mut self) {
        let end = loop {
            let stage = *self.stage.borrow_and_update();
            if let Stage::Settle(round) = stage {
                self.settle(round);
            }
            let running = matches!(stage, Stage::Run);
            let held = self.held.filter(|_| running);
            let step = tokio::select! {
                changed = self.stage.changed() => match changed {
                    Ok(()) => Ok(None),
                    Err(_) => Ok(Some(End::Left)),
                },
                () = sleep_until(self.next.0), if running && self.outgoing.is_empty() && !self.leaving => self.make_move(),
                () = sleep_until(held.unwrap_or(self.next.0)), if held.is_some() => {
                    self.held = None;
                    Ok(None)
                }
                ready = self.stream.readable(), if held.is_none() => ready.and_then(|()| self.read()),
                ready = self.stream.writable(), if !self.outgoing.is_empty() => ready.and_then(|()| self.write()),
            };
            match step {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(error) => break End::Lost { at: self.shelf.now(), why: error.to_string() },
            }
        };
        let record = self.take(end);
        self.shelf.ended(record);
    }

    /// What was written down since the last time.
    fn take(&mut self, end: End) -> Record {
        let entries = std::mem::take(&mut self.entries);
        let record =
            Record { client: self.number, behaviour: self.behaviour.name(), before: self.before, entries, end };
        self.before = record.told().last().map_or(self.before, |(.., told)| Some(told));
        record
    }

    /// Sends no more than the rest of a line, and hands in once everything is answered.
    fn settle(&mut self, round: u64) {
        if std::mem::take(&mut self.half) {
            self.say(b"cr\n", Some(Line::Incr));
        }
        if self.handed_in < round && self.waiting <= 0 && self.outgoing.is_empty() && !self.leaving {
            self.handed_in = round;
            let record = self.take(End::Open);
            self.shelf.settled(record);
        }
    }

    /// Makes the move that is due and chooses the next. Gives its end if it goes.
    fn make_move(&mut self) -> io::Result<Option<End>> {
        let mut end = None;
        match self.next.1 {
            Move::Lines(count) => {
                if std::mem::take(&mut self.half) {
                    self.say(b"cr\n", Some(Line::Incr));
                } else {
                    (0..count).for_each(|_| self.say(b"incr\n", Some(Line::Incr)));
                }
            }
            Move::Nonsense => self.say(b"decr\n", Some(Line::Nonsense)),
            Move::Remind(delay) => {
                self.say(format!("remind {}\n", delay.as_millis()).as_bytes(), Some(Line::Remind(delay)));
            }
            Move::Half => {
                self.half = true;
                self.say(b"in", None);
            }
            Move::Hold(time) => self.held = Some(Instant::now() + time),
            Move::Provoke(how) => self.say(how.line(), Some(Line::Provocation)),
            Move::LeaveWhenAnswered => self.leaving = true,
            Move::LeaveMidLine => {
                self.say(b"inc", None);
                end = Some(End::Left);
            }
        }
        let (wait, next) = self.behaviour.next(self.moves, &mut self.dice);
        self.moves += 1;
        // From when it was due, so that lines come evenly; but what was missed is not made up for in one go.
        let now = Instant::now();
        self.next = ((self.next.0 + wait).max(now), next);
        let written = self.write()?;
        Ok(end.or(written).or_else(|| self.goes()))
    }

    /// A client that only waits for its answers goes when it has them.
    fn goes(&self) -> Option<End> {
        (self.leaving && self.waiting <= 0 && self.outgoing.is_empty()).then_some(End::Left)
    }

    fn say(&mut self, bytes: &[u8], line: Option<Line>) {
        self.outgoing.extend(bytes);
        if let Some(line) = line {
            self.waiting += 1;
            self.ending.push_back((self.outgoing.len(), line));
        }
    }

    fn write(&mut self) -> io::Result<Option<End>> {
        while !self.outgoing.is_empty() {
            // Before the write: whatever the host does with a line, it does after this.
            let at = self.shelf.now();
            let count = match self.stream.try_write(self.outgoing.make_contiguous()) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            self.outgoing.drain(..count);
            for (end, _) in &mut self.ending {
                *end = end.saturating_sub(count);
            }
            while let Some((_, line)) = self.ending.pop_front_if(|(end, _)| *end == 0) {
                self.entries.push(Entry::Sent { at, line });
            }
        }
        Ok(None)
    }

    fn read(&mut self) -> io::Result<Option<End>> {
        let mut buffer = [0; READ_BYTES];
        let count = match self.stream.try_read(&mut buffer) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the host")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let at = self.shelf.now();
        for piece in buffer.get(..count).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if self.partial.pop_if(|byte| *byte == b'\n').is_some() {
                let answer = Answer::parse(&self.partial);
                self.partial.clear();
                self.waiting -= 1;
                self.entries.push(Entry::Got { at, answer });
            }
        }
        if self.partial.len() > LINE_LIMIT_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
        }
        Ok(self.goes())
    }
}

async fn connect(behaviour: Behaviour, address: std::net::SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(bytes) = behaviour.receive_buffer_bytes() {
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    // Otherwise a line may wait for the acknowledgement of the one before, and that would look like a pause.
    stream.set_nodelay(true)?;
    Ok(stream)
}
