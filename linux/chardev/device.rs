// SPDX-License-Identifier: GPL-2.0

//! Nodes: `struct device` and `struct cdev` in one object that is freed with the last reference.
//!
//! Everything is initialised before `cdev_device_add()` makes the node visible, and the memory is
//! freed by the device's release callback.
//!
//! C headers: [`include/linux/cdev.h`](srctree/include/linux/cdev.h),
//! [`include/linux/device.h`](srctree/include/linux/device.h)

use super::{
    attribute::AttributeGroups,
    class::Class,
    fops::{
        self,
        FileOperations, //
    },
    region::{
        Minor,
        Region, //
    },
};
use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    container_of,
    device,
    error::to_result,
    fmt,
    module::this_module,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// How many devices of this module were made.
static CREATED: Atomic<u64> = Atomic::new(0);

/// How many of them were not released yet.
static UNRELEASED: Atomic<u32> = Atomic::new(0);

/// Waits when dropped until all devices are released.
///
/// A device is released, by code of this module, when its last reference goes; that need not be
/// ours (sysfs holds references for a moment, and `CONFIG_DEBUG_KOBJECT_RELEASE` delays each
/// release by seconds). So this must be the last thing that the module drops.
pub struct ReleaseBarrier(());

impl ReleaseBarrier {
    /// A barrier for all devices of the module.
    #[expect(
        clippy::new_without_default,
        reason = "it is made once, at a place that matters"
    )]
    pub fn new() -> Self {
        Self(())
    }
}

impl Drop for ReleaseBarrier {
    fn drop(&mut self) {
        // None was ever made: loading has failed early.
        if CREATED.load(Relaxed) == 0 {
            return;
        }
        while UNRELEASED.load(Acquire) != 0 {
            fsleep(Delta::from_millis(1));
        }
        synchronize_returns();
    }
}

/// Waits until all calls of [`Device::release`] that were counted have returned.
///
/// That function still has to return then, and may be preempted before it has; its code must stay
/// until then. `free_module()` does not wait for code that was preempted. RCU tasks waits for each
/// task to sleep by itself or to be in user mode, and no task does that between the count and the
/// return. Tracing waits for its trampolines in the same way.
fn synchronize_returns() {
    #[cfg(CONFIG_TASKS_RCU)]
    // SAFETY: May be called wherever one may sleep.
    unsafe {
        bindings::synchronize_rcu_tasks()
    };
    // In a kernel that is not preempted, a grace period of RCU does the same.
    #[cfg(not(CONFIG_TASKS_RCU))]
    // SAFETY: As above.
    unsafe {
        bindings::synchronize_rcu()
    };
}

/// The part of a [`Device`] that does not depend on its type.
#[pin_data]
#[repr(C)]
pub(super) struct DeviceBase {
    #[pin]
    dev: Opaque<bindings::device>,
    #[pin]
    cdev: Opaque<bindings::cdev>,
    mode: u16,
    /// Given back with the last reference: an inode that was opened before still leads to this
    /// `cdev`, and must not be found under the number of another.
    minor: Minor,
    /// Keeps the class until the device is gone.
    _class: Arc<Class>,
}

impl DeviceBase {
    /// Returns the [`DeviceBase`] around a `struct device`.
    ///
    /// # Safety
    ///
    /// `dev` must point to the `dev` of a [`DeviceBase`].
    pub(super) unsafe fn from_device(dev: *const bindings::device) -> *const Self {
        // SAFETY: `dev` is inside of a `DeviceBase` by the requirements of this function.
        unsafe { container_of!(Opaque::cast_from(dev), Self, dev) }
    }

    /// Returns the [`DeviceBase`] around a `struct cdev`.
    ///
    /// # Safety
    ///
    /// `cdev` must point to the `cdev` of a [`DeviceBase`].
    unsafe fn from_cdev(cdev: *const bindings::cdev) -> *const Self {
        // SAFETY: `cdev` is inside of a `DeviceBase` by the requirements of this function.
        unsafe { container_of!(Opaque::cast_from(cdev), Self, cdev) }
    }

    /// Returns the permissions of the node.
    pub(super) fn mode(&self) -> u16 {
        self.mode
    }
}

/// A node with the driver's data in it.
///
/// Made by [`Registration::new`]. [`ARef<Device<T>>`](ARef) is a counted reference, which keeps the
/// memory but not the node: a device whose registration was dropped is no longer to be found.
///
/// # Invariants
///
/// `base.dev` is an initialised `struct device` whose count keeps this object.
#[pin_data]
#[repr(C)] // `base` comes first, so that a pointer to it is one to the whole.
pub struct Device<T> {
    #[pin]
    base: DeviceBase,
    #[pin]
    data: T,
}

// SAFETY: The last reference may be dropped on any thread, and then drops `T` there.
unsafe impl<T: Send + Sync> Send for Device<T> {}

// SAFETY: `&Device<T>` gives `&T` and counts references, which is synchronised.
unsafe impl<T: Send + Sync> Sync for Device<T> {}

impl<T> Device<T> {
    /// Returns the driver's data of the device around a `struct cdev`.
    ///
    /// # Safety
    ///
    /// `cdev` must belong to a `Device<T>`, with this very `T`, that stays for `'a`.
    pub(super) unsafe fn from_cdev<'a>(cdev: *const bindings::cdev) -> &'a Self {
        // SAFETY: Part of a `DeviceBase`, which is the first field of a `Device<T>`, which stays.
        unsafe { &*DeviceBase::from_cdev(cdev).cast() }
    }

    /// Returns the driver's data of the device around a `struct device`.
    ///
    /// # Safety
    ///
    /// `dev` must belong to a `Device<T>`, with this very `T`, that stays for `'a`.
    pub(super) unsafe fn from_device<'a>(dev: *const bindings::device) -> &'a Self {
        // SAFETY: Part of a `DeviceBase`, which is the first field of a `Device<T>`, which stays.
        unsafe { &*DeviceBase::from_device(dev).cast() }
    }

    /// Returns the device number.
    pub fn minor(&self) -> &Minor {
        &self.base.minor
    }

    fn as_raw(&self) -> *mut bindings::device {
        self.base.dev.get()
    }

    /// Frees the object. The driver core calls this when the last reference is gone.
    ///
    /// # Safety
    ///
    /// `dev` must belong to a `Device<T>` that came from `into_foreign()`, and nobody may use it.
    unsafe extern "C" fn release(dev: *mut bindings::device) {
        // SAFETY: Part of a `DeviceBase`, which is the first field of a `Device<T>`, which was
        // turned into a pointer by `into_foreign()` in `Registration::new`.
        drop(unsafe {
            Pin::<KBox<Self>>::from_foreign(DeviceBase::from_device(dev).cast_mut().cast())
        });
        // The barrier may go on from here: see `synchronize_returns`.
        UNRELEASED.fetch_sub(1u32, Release);
    }
}

impl<T> Deref for Device<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> AsRef<device::Device> for Device<T> {
    fn as_ref(&self) -> &device::Device {
        // SAFETY: Initialised and counted by the type invariants.
        unsafe { device::Device::from_raw(self.as_raw()) }
    }
}

// SAFETY: By the type invariants the device's count keeps the object.
unsafe impl<T> AlwaysRefCounted for Device<T> {
    fn inc_ref(&self) {
        // SAFETY: A shared reference exists, so the count is not zero.
        unsafe { bindings::get_device(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference, so the object is there until after this call.
        unsafe { bindings::put_device(obj.as_ref().as_raw()) };
    }
}

/// What may be said about a node besides its name and number.
pub struct Options<'a, T: 'static> {
    /// Permissions of the node, as of `chmod(2)`.
    pub mode: u16,
    /// The hardware behind it: the node's directory in sysfs is then below that of the hardware.
    /// Without one it is below `/sys/devices/virtual`.
    pub parent: Option<&'a device::Device>,
    /// The node's files in sysfs, there from the moment on in which the node is announced.
    pub attributes: Option<&'static AttributeGroups<T>>,
}

impl<T> Options<'_, T> {
    /// For root only, without hardware or attributes.
    pub const DEFAULT: Self = Self {
        mode: 0o600,
        parent: None,
        attributes: None,
    };
}

/// A node that programs can find and open. Dropping it removes the node; files that are open stay
/// so, with their [`Device`].
///
/// # Invariants
///
/// `device` was added by `cdev_device_add()`.
pub struct Registration<T: Send + Sync + 'static> {
    device: ARef<Device<T>>,
}

impl<T: Send + Sync + 'static> Registration<T> {
    /// Makes a node: `/dev/name`, and `/sys/class/CLASS/name`.
    ///
    /// `F` is what programs can do with it. A program may open the node before this returns.
    ///
    /// # Safety
    ///
    /// The returned value must be dropped before the module is unloaded, and a [`ReleaseBarrier`]
    /// after it: the kernel calls the module's code through the node.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] when there is a device of this name, [`ENOMEM`], or what `data` fails with.
    pub unsafe fn new<F: FileOperations<Device = T>>(
        class: &Arc<Class>,
        minor: Minor,
        name: fmt::Arguments<'_>,
        options: Options<'_, T>,
        data: impl PinInit<T, Error>,
    ) -> Result<Self> {
        let device = Device::<T>::allocate(class, minor, options.mode, data)?;
        let dev = device.as_raw();
        let cdev = device.base.cdev.get();

        // SAFETY: `dev` is initialised, and nobody else knows it yet. Class, parent (which the
        // driver core takes a reference to) and attributes stay for as long as the device.
        unsafe {
            (*dev).class = class.as_raw();
            (*dev).devt = device.minor().device_number();
            (*dev).parent = options.parent.map_or(core::ptr::null_mut(), |parent| {
                core::ptr::from_ref(parent).cast_mut().cast()
            });
            (*dev).groups = options
                .attributes
                .map_or(core::ptr::null_mut(), AttributeGroups::as_raw);
        }

        // SAFETY: "%pA" prints the `fmt::Arguments` that its argument points to. `dev` is
        // initialised and has no name yet.
        to_result(unsafe {
            bindings::dev_set_name(
                dev,
                c"%pA".as_char_ptr(),
                core::ptr::from_ref(&name).cast::<c_void>(),
            )
        })?;

        // SAFETY: `cdev` is zeroed memory, pinned, and of a `Device<T>` as these operations expect.
        unsafe {
            bindings::cdev_init(cdev, fops::vtable::<F>());
            (*cdev).owner = this_module::<crate::LocalModule>().as_ptr();
        }

        // SAFETY: Both are initialised and part of one object, which `dev` keeps. Should this fail,
        // nothing is left but the reference that `device` holds (and those of programs that were
        // quick to open the node, which is fine).
        to_result(unsafe { bindings::cdev_device_add(cdev, dev) })?;

        // INVARIANT: Added above.
        Ok(Self { device })
    }

    /// Returns the device, for logging or to keep it.
    pub fn device(&self) -> &Device<T> {
        &self.device
    }

    /// Makes a node with a major number and a class of its own, all called `name`.
    ///
    /// # Safety
    ///
    /// The returned value must be dropped before the module is unloaded.
    ///
    /// # Errors
    ///
    /// As of [`Region::new`], [`Class::new`] and [`Registration::new`].
    pub unsafe fn single<F: FileOperations<Device = T>>(
        name: &'static CStr,
        options: Options<'_, T>,
        data: impl PinInit<T, Error>,
    ) -> Result<SingleNode<T>> {
        let minor = Region::new(name, 1)?.reserve(0)?;
        // SAFETY: Kept by the device, so dropped in time by the requirements of this function.
        let class = unsafe { Class::new(name) }?;

        // SAFETY: By the requirements of this function.
        let node = unsafe { Self::new::<F>(&class, minor, fmt!("{name}"), options, data) }?;
        Ok(SingleNode {
            node,
            _barrier: ReleaseBarrier::new(),
        })
    }
}

/// The node of a module that has only this one; see [`Registration::single`].
pub struct SingleNode<T: Send + Sync + 'static> {
    node: Registration<T>,
    _barrier: ReleaseBarrier,
}

impl<T: Send + Sync + 'static> Deref for SingleNode<T> {
    type Target = Registration<T>;

    fn deref(&self) -> &Registration<T> {
        &self.node
    }
}

impl<T: Send + Sync + 'static> Device<T> {
    /// Allocates a device that nobody can find yet.
    fn allocate(
        class: &Arc<Class>,
        minor: Minor,
        mode: u16,
        data: impl PinInit<T, Error>,
    ) -> Result<ARef<Self>> {
        let object = KBox::pin_init(
            try_pin_init!(Self {
                base <- pin_init!(DeviceBase {
                    dev: Opaque::zeroed(),
                    cdev: Opaque::zeroed(),
                    mode,
                    minor,
                    _class: class.clone(),
                }),
                data <- data,
            }),
            GFP_KERNEL,
        )?;
        let dev = object.as_raw();
        let object = object.into_foreign().cast::<Self>();

        CREATED.add(1u64, Relaxed);
        UNRELEASED.add(1u32, Relaxed);
        // INVARIANT: From here on the object belongs to the device's count.
        // SAFETY: `dev` is zeroed memory, pinned, and inside of the object that `release` frees.
        unsafe {
            bindings::device_initialize(dev);
            (*dev).release = Some(Self::release);
        }

        // SAFETY: Not null, and `device_initialize()` gave us the first reference.
        Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(object)) })
    }
}

impl<T: Send + Sync + 'static> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: Added by the type invariants. This waits until no program reads or writes an
        // attribute, but not for open files.
        unsafe { bindings::cdev_device_del(self.device.base.cdev.get(), self.device.as_raw()) };
    }
}
