//! The few instructions of Python's pickle format that `torch.save` writes, read into plain values.
//!
//! Nothing is executed: a call is a value like any other. Values refer to each other by number, so that one that is
//! used a thousand times is there once, one within another a million deep needs no stack, and one within itself no
//! end. Source: <https://docs.python.org/3/library/pickletools.html>.

use std::collections::HashMap;

/// Values that are read at most, and remembered at most; a tensor takes about twenty.
const MAX_VALUES: usize = 1 << 20;
/// Beginnings that may wait for their end.
const MAX_MARKS: usize = 1 << 16;
/// The one value that stands for all of [`Value::Other`]: a list of a million losses takes no room.
const OTHER: Id = 0;

/// The number of a value.
pub type Id = u32;

/// A value. Text is borrowed from the pickle.
pub enum Value<'a> {
    /// An integer of at most 64 bits.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// A class or function, by name.
    Global { module: &'a str, name: &'a str },
    /// A tuple.
    Tuple(Vec<Id>),
    /// A dictionary, ordered or not.
    Dict(Vec<(Id, Id)>),
    /// Something outside the pickle: a storage.
    Persistent(Id),
    /// A call that Python would make.
    Call { callable: Id, args: Id },
    /// What no tensor is made of: lists, numbers with a point, None, …
    Other,
}

/// What a pickle holds.
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    /// The value that was pickled.
    pub root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle. Errors say at which byte.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine {
            rest: bytes,
            values: vec![Value::Other],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        loop {
            let at = bytes.len() - machine.rest.len();
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(Self { values: machine.values, root }),
                Err(what) => return Err(format!("byte {at}: {what}")),
            }
        }
    }

    /// A value.
    pub fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at which a tuple, a dictionary's items, … begin.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Does one instruction. The last one gives what was pickled.
    fn step(&mut self) -> Result<Option<Id>, String> {
        match self.byte()? {
            b'.' => return self.pop().map(Some),
            // Protocol, frame: nothing to do.
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'K' => self.integer(1, false)?,
            b'M' => self.integer(2, false)?,
            b'J' => self.integer(4, true)?,
            0x8a => {
                let length = self.byte()?.into();
                self.integer(length, true)?;
            }
            0x8b => {
                let length = self.length(4)?;
                self.integer(length, true)?;
            }
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global { module, name })?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (&Value::Text(module), &Value::Text(name)) = (self.value(module), self.value(name))
                else {
                    return Err("a class whose name is no text".into());
                };
                self.push(Value::Global { module, name })?;
            }
            // Numbers with a point, None, booleans, lists, sets, bytes.
            b'G' => self.other(8)?,
            b'N' | 0x88 | 0x89 | b']' | 0x8f => self.other(0)?,
            b'U' | b'C' => self.skip(1)?,
            b'T' | b'B' => self.skip(4)?,
            0x8e | 0x96 => self.skip(8)?,
            b'(' if self.marks.len() == MAX_MARKS => return Err(format!("more than {MAX_MARKS} beginnings")),
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items))?;
            }
            n @ 0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(n - 0x84)).ok_or("an empty stack")?;
                let items = self.stack.split_off(from);
                self.push(Value::Tuple(items))?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            // What is put into lists and sets is of no interest.
            b'a' => drop(self.pop()?),
            b'e' | 0x90 => drop(self.pop_to_mark()?),
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            // A call, or an instance of a class. Its state, which comes next, is of no interest either.
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                self.call(callable, args)?;
            }
            b'b' => drop(self.pop()?),
            b'q' => {
                let key = self.byte()?.into();
                self.remember(key)?;
            }
            b'r' => {
                let key = self.word()?;
                self.remember(key)?;
            }
            0x94 => self.remember(u32::try_from(self.memo.len()).map_err(|e| e.to_string())?)?,
            b'h' => {
                let key = self.byte()?.into();
                self.recall(key)?;
            }
            b'j' => {
                let key = self.word()?;
                self.recall(key)?;
            }
            other => return Err(format!("instruction 0x{other:02x}, which torch.save does not write")),
        }
        Ok(None)
    }

    fn call(&mut self, callable: Id, args: Id) -> Result<(), String> {
        match self.value(callable) {
            Value::Global { module: "collections", name: "OrderedDict" | "defaultdict" } => {
                self.push(Value::Dict(Vec::new()))
            }
            _ => self.push(Value::Call { callable, args }),
        }
    }

    /// Puts keys and values into the dictionary on the stack; what is no dictionary takes them unseen.
    fn set(&mut self, items: &[Id]) -> Result<(), String> {
        let target = *self.stack.last().ok_or("an empty stack")?;
        let (pairs, []) = items.as_chunks::<2>() else { return Err("a key without a value".into()) };
        if let Value::Dict(entries) = &mut self.values[target as usize] {
            entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
        }
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let last = *self.stack.last().ok_or("an empty stack")?;
        if self.memo.len() == MAX_VALUES && !self.memo.contains_key(&key) {
            return Err(format!("more than {MAX_VALUES} values remembered"));
        }
        self.memo.insert(key, last);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let id = *self.memo.get(&key).ok_or_else(|| format!("nothing is remembered as {key}"))?;
        self.stack.push(id);
        Ok(())
    }

    fn value(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        if self.values.len() == MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| "an empty stack".into())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("an end without a beginning")?))
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(*self.take(4)?.first_chunk().expect("four bytes")))
    }

    /// A length of 1, 4 or 8 bytes.
    fn length(&mut self, bytes: usize) -> Result<usize, String> {
        let mut whole = [0; 8];
        whole[..bytes].copy_from_slice(self.take(bytes)?);
        usize::try_from(u64::from_le_bytes(whole)).map_err(|e| e.to_string())
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.rest.iter().position(|&b| b == b'\n').ok_or("it ends too early")?;
        let line = self.take(end + 1)?;
        str::from_utf8(&line[..end]).map_err(|e| e.to_string())
    }

    fn integer(&mut self, bytes: usize, signed: bool) -> Result<(), String> {
        let digits = self.take(bytes)?;
        let fill = if signed && digits.last().is_some_and(|&b| b >= 0x80) { 0xff } else { 0 };
        let mut whole = [fill; 8];
        let Some(low) = whole.get_mut(..bytes) else {
            self.stack.push(OTHER);
            return Ok(());
        };
        low.copy_from_slice(digits);
        self.push(Value::Int(i64::from_le_bytes(whole)))
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let length = self.length(length)?;
        let text = str::from_utf8(self.take(length)?).map_err(|e| e.to_string())?;
        self.push(Value::Text(text))
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        let length = self.length(length)?;
        self.other(length)
    }

    fn other(&mut self, bytes: usize) -> Result<(), String> {
        self.take(bytes)?;
        self.stack.push(OTHER);
        Ok(())
    }
}
