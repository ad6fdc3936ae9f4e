package squash

import "golang.org/x/sys/unix"

const sysFstatat = unix.SYS_NEWFSTATAT

// oldHandlers are the calls that newer machines do not have.
func oldHandlers(cwd int32) map[int32]func(*call) answer {
	const still = unix.AT_SYMLINK_NOFOLLOW
	return map[int32]func(*call) answer{
		unix.SYS_CHOWN:   func(c *call) answer { return c.chown(target{cwd, c.args[0], 0}, 1) },
		unix.SYS_LCHOWN:  func(c *call) answer { return c.chown(target{cwd, c.args[0], still}, 1) },
		unix.SYS_STAT:    func(c *call) answer { return c.stat(target{cwd, c.args[0], 0}, 1) },
		unix.SYS_LSTAT:   func(c *call) answer { return c.stat(target{cwd, c.args[0], still}, 1) },
		unix.SYS_MKNOD:   func(c *call) answer { return c.make(target{cwd, c.args[0], 0}, 1) },
		unix.SYS_OPEN:    func(c *call) answer { return c.create(target{cwd, c.args[0], 0}) },
		unix.SYS_CREAT:   func(c *call) answer { return c.create(target{cwd, c.args[0], 0}) },
		unix.SYS_MKDIR:   func(c *call) answer { return c.create(target{cwd, c.args[0], 0}) },
		unix.SYS_SYMLINK: func(c *call) answer { return c.create(target{cwd, c.args[1], 0}) },
	}
}
