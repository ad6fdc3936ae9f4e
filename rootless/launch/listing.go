package launch

import (
	"bryo/rootless"
	"bryo/rootless/program"
)

// Programs are the two halves of what Start would execute. Descriptors that
// are only known then show as they mostly are.
func Programs(plan *rootless.Plan) (setup, stage *program.Program) {
	const first = 3
	fds := descriptors{errors: first + 1, maps: first + 2, parent: first + 4, stage: first + 5, terminal: first + 6, network: first + 7, ready: first + 8, squash: first + 9}
	return compileSetup(plan, fds), compileStage(plan, fds)
}
