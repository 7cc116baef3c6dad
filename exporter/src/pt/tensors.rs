//! Which tensors a pickle describes: dictionaries within dictionaries, flattened to names.

use std::collections::BTreeMap;

use anomalens_models::weights::Element;

use super::pickle::{Id, Pickle, Value};

/// Dictionaries within dictionaries.
const MAX_DEPTH: usize = 32;
/// Entries of dictionaries that are looked at: a dictionary may hold another many times over.
const MAX_VISITS: usize = 1 << 20;
/// Tensors of a file.
const MAX_TENSORS: usize = 1 << 16;
/// Wrappers around a tensor: a subclass, a parameter.
const MAX_WRAPPERS: usize = 4;
/// Bytes of a name.
const MAX_NAME: usize = 1024;

/// PyTorch's name for a storage of such elements.
pub fn storage_class(element: Element) -> &'static str {
    match element {
        Element::F64 => "DoubleStorage",
        Element::F32 => "FloatStorage",
        Element::F16 => "HalfStorage",
        Element::Bf16 => "BFloat16Storage",
        Element::I64 => "LongStorage",
        Element::I32 => "IntStorage",
        Element::I16 => "ShortStorage",
        Element::I8 => "CharStorage",
        Element::U8 => "ByteStorage",
        Element::Bool => "BoolStorage",
    }
}

/// A tensor as the pickle describes it.
pub enum Tensor {
    /// A view into a storage.
    View(View),
    /// One that cannot be read, and what it is.
    Unreadable(String),
}

/// A view into a storage, in elements.
pub struct View {
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub offset: usize,
    pub element: Element,
    /// The storage's name in the file, e.g. `0`.
    pub storage: String,
    /// Elements of the storage.
    pub of: usize,
}

impl View {
    /// Number of elements; `None` if there cannot be so many.
    pub fn len(&self) -> Option<usize> {
        self.shape.iter().try_fold(1, |n: usize, &axis| n.checked_mul(axis))
    }

    /// Whether every element it names is in its storage.
    pub fn fits(&self) -> bool {
        if self.shape.contains(&0) {
            return true;
        }
        let mut steps = self.shape.iter().zip(&self.strides);
        let last = steps.try_fold(self.offset, |sum: usize, (&axis, &stride)| {
            sum.checked_add((axis - 1).checked_mul(stride)?)
        });
        last.is_some_and(|last| last < self.of)
    }

    /// Whether the elements stand in the storage as they are read, row by row.
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&axis, &stride)| {
            let right = axis == 1 || stride == expected;
            expected *= axis;
            right
        })
    }
}

/// The tensors of a pickle: `{"model": {"out.0.bias": T}}` holds `model.out.0.bias`.
///
/// Errors: what is wrong with it.
pub fn tensors(pickle: &Pickle<'_>) -> Result<BTreeMap<String, Tensor>, String> {
    let mut walk = Walk { pickle, found: BTreeMap::new(), visits: 0 };
    walk.flatten(pickle.root, "", 0)?;
    if walk.found.is_empty() {
        return Err(match walk.class(pickle.root) {
            Some(class) => format!("a {class} itself, not its state_dict()"),
            None => "no tensors by name in it (a state_dict() is wanted)".into(),
        });
    }
    Ok(walk.found)
}

struct Walk<'a> {
    pickle: &'a Pickle<'a>,
    found: BTreeMap<String, Tensor>,
    visits: usize,
}

impl Walk<'_> {
    fn flatten(&mut self, id: Id, prefix: &str, depth: usize) -> Result<(), String> {
        let pickle = self.pickle;
        let Value::Dict(entries) = pickle.get(id) else { return Ok(()) };
        if depth == MAX_DEPTH {
            return Err(format!("dictionaries more than {MAX_DEPTH} deep"));
        }
        for &(key, value) in entries {
            self.visits += 1;
            if self.visits > MAX_VISITS {
                return Err(format!("dictionaries with more than {MAX_VISITS} entries"));
            }
            let name = match pickle.get(key) {
                Value::Text(key) => format!("{prefix}{key}"),
                Value::Int(key) => format!("{prefix}{key}"),
                _ => continue,
            };
            if name.len() > MAX_NAME {
                return Err(format!("a name of {} bytes, expected at most {MAX_NAME}", name.len()));
            }
            match self.tensor(value, 0) {
                None => self.flatten(value, &format!("{name}."), depth + 1)?,
                Some(_) if self.found.len() == MAX_TENSORS => {
                    return Err(format!("more than {MAX_TENSORS} tensors"));
                }
                Some(tensor) => {
                    if self.found.insert(name.clone(), tensor).is_some() {
                        return Err(format!("two tensors named '{name}'"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The tensor that a value describes; `None` if it is none. `depth` counts the wrappers around it.
    fn tensor(&self, id: Id, depth: usize) -> Option<Tensor> {
        match *self.pickle.get(id) {
            Value::Call { callable, args } => self.rebuilt(callable, args, depth),
            _ => None,
        }
    }

    /// The tensor that a call makes.
    fn rebuilt(&self, callable: Id, args: Id, depth: usize) -> Option<Tensor> {
        let (Value::Global { module, name }, Value::Tuple(args)) =
            (self.pickle.get(callable), self.pickle.get(args))
        else {
            return None;
        };
        if !module.starts_with("torch") || !name.starts_with("_rebuild") {
            return None;
        }
        let found = match (*name, args.as_slice()) {
            ("_rebuild_parameter" | "_rebuild_parameter_with_state", &[inner, ..])
                if depth < MAX_WRAPPERS =>
            {
                return self.tensor(inner, depth + 1);
            }
            ("_rebuild_from_type_v2", &[callable, _, args, ..]) if depth < MAX_WRAPPERS => {
                return self.rebuilt(callable, args, depth + 1);
            }
            ("_rebuild_tensor_v2", &[_, _, _, _, _, _, metadata, ..]) if !self.is_empty(metadata) => {
                Err("a view with PyTorch's conjugate or negative bit".into())
            }
            ("_rebuild_tensor_v2" | "_rebuild_tensor", &[storage, offset, shape, strides, ..]) => {
                self.view(storage, offset, shape, strides)
            }
            _ => Err(format!("written by {module}.{name}")),
        };
        Some(found.map_or_else(Tensor::Unreadable, Tensor::View))
    }

    fn view(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<View, String> {
        let Some((class, storage, of)) = self.storage(storage) else {
            return Err("without a storage".into());
        };
        let element = Element::ALL.into_iter().find(|&element| storage_class(element) == class);
        let element =
            element.ok_or_else(|| format!("of type {}", class.trim_end_matches("Storage").to_lowercase()))?;
        let (shape, strides) = (self.numbers(shape)?, self.numbers(strides)?);
        if shape.len() != strides.len() {
            return Err(format!("a view of shape {shape:?} with strides {strides:?}"));
        }
        let offset = self.number(offset)?;
        Ok(View { shape, strides, offset, element, storage: storage.to_owned(), of })
    }

    /// Class, name and length of a storage.
    fn storage(&self, id: Id) -> Option<(&str, &str, usize)> {
        let &Value::Persistent(id) = self.pickle.get(id) else { return None };
        let Value::Tuple(fields) = self.pickle.get(id) else { return None };
        let &[_, class, name, _, of, ..] = fields.as_slice() else { return None };
        let (Value::Global { name: class, .. }, Value::Text(name)) =
            (self.pickle.get(class), self.pickle.get(name))
        else {
            return None;
        };
        Some((class, name, self.number(of).ok()?))
    }

    fn is_empty(&self, id: Id) -> bool {
        matches!(self.pickle.get(id), Value::Dict(entries) if entries.is_empty())
    }

    fn numbers(&self, id: Id) -> Result<Vec<usize>, String> {
        match self.pickle.get(id) {
            Value::Tuple(items) => items.iter().map(|&item| self.number(item)).collect(),
            _ => Err("a view without a shape".into()),
        }
    }

    fn number(&self, id: Id) -> Result<usize, String> {
        match self.pickle.get(id) {
            Value::Int(n) => usize::try_from(*n).map_err(|_| format!("a view with the number {n}")),
            _ => Err("a view that is not described by numbers".into()),
        }
    }

    /// The class of which a value is an instance.
    fn class(&self, id: Id) -> Option<String> {
        let &Value::Call { callable, .. } = self.pickle.get(id) else { return None };
        match self.pickle.get(callable) {
            Value::Global { module, name } => Some(format!("{module}.{name}")),
            _ => None,
        }
    }
}
