//! What `nc -N ADDRESS PORT` does, for machines without it: sends standard input, ends that direction, prints what comes.

use std::{
    io::{Write as _, copy, stdin, stdout},
    net::{Shutdown, TcpStream},
};

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "-N").collect();
    let mut stream = TcpStream::connect(words.join(":"))?;
    copy(&mut stdin(), &mut stream)?;
    stream.shutdown(Shutdown::Write)?;
    copy(&mut stream, &mut stdout())?;
    stdout().flush()
}
