package launch

import (
	"golang.org/x/sys/unix"

	"bryo/rootless"
	"bryo/rootless/program"
)

// StackFD is the descriptor that the command of Unshare has of the root directory,
// if the plan's root is a stack. Nobody may have that one mounted.
const StackFD = 901

// Unshare runs the plan's command in a user and a mount namespace with the
// plan's id map, as root of both, and otherwise where bryo itself runs.
func Unshare(plan *rootless.Plan) (*Container, error) {
	return start(plan, unix.CLONE_NEWUSER|unix.CLONE_NEWNS, compileUnshare,
		func(*rootless.Plan, descriptors) *program.Program { return program.New() })
}

// Helper runs the plan's command as Unshare does, with the plan's capabilities
// as the most that it can have, and with no network.
func Helper(plan *rootless.Plan) (*Container, error) {
	return start(plan, unix.CLONE_NEWUSER|unix.CLONE_NEWNS|unix.CLONE_NEWNET|unix.CLONE_NEWIPC, compileHelper,
		func(*rootless.Plan, descriptors) *program.Program { return program.New() })
}
