//go:build !portable

#include "textflag.h"

// The code between stage and codeEnd is copied into the sealed ELF, so it is
// one stretch without references to anything outside it, and it needs no
// stack but in reap and supervise. arena.go draws what it reads.
//
// Registers: BX the operation, R13 the arena's header.

#define SYS_write		1
#define SYS_munmap		11
#define SYS_getpid		39
#define SYS_wait4		61
#define SYS_kill		62
#define SYS_rt_sigtimedwait	128
#define SYS_exit_group		231
#define SYS_waitid		247
#define SYS_pidfd_send_signal	424
#define SYS_clone3		435
#define SYS_close_range		436

#define arenaBase	$0x10011000
#define EAGAIN		$-11
#define maxErrno	$-4095

// stage is the ELF's entry: argc 2 supervises, any other runs the program.
TEXT ·stage(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	0(SP), AX
	CMPQ	AX, $2
	JNE	2(PC)
	JMP	·supervise(SB)
	MOVQ	arenaBase, R13
	LEAQ	64(R13), BX
	JMP	·interpret(SB)

// interpret carries out operations; it does not return.
TEXT ·interpret(SB),NOSPLIT|NOFRAME,$0-0
next:
	MOVQ	56(BX), R12
	MOVQ	8(BX), DI
	BTQ	$0, R12
	JCC	2(PC)
	MOVQ	(DI), DI
	MOVQ	16(BX), SI
	BTQ	$1, R12
	JCC	2(PC)
	MOVQ	(SI), SI
	MOVQ	24(BX), DX
	BTQ	$2, R12
	JCC	2(PC)
	MOVQ	(DX), DX
	MOVQ	32(BX), R10
	BTQ	$3, R12
	JCC	2(PC)
	MOVQ	(R10), R10
	MOVQ	40(BX), R8
	BTQ	$4, R12
	JCC	2(PC)
	MOVQ	(R8), R8
	MOVQ	48(BX), R9
	BTQ	$5, R12
	JCC	2(PC)
	MOVQ	(R9), R9
again:
	MOVQ	0(BX), AX
	CMPQ	AX, $-2
	JEQ	compare
	CMPQ	AX, $-3
	JEQ	becomeInit
	SYSCALL
	CMPQ	AX, maxErrno
	JCS	ok
	CMPQ	AX, EAGAIN
	JNE	failed
	CMPQ	88(BX), $0
	JEQ	failed
	SUBQ	$1, 88(BX)
	JMP	again
ok:
	MOVQ	80(BX), CX
	TESTQ	CX, CX
	JEQ	advance
	MOVQ	AX, (CX)
advance:
	ADDQ	$96, BX
	JMP	next

compare:
	ANDQ	SI, DI
	CMPQ	DI, DX
	JEQ	advance
	MOVQ	R10, AX
	JMP	tolerated
failed:
	NEGQ	AX
tolerated:
	MOVQ	64(BX), CX
	CMPQ	CX, $-1
	JEQ	skip
	CMPQ	AX, $64
	JCC	fatal
	BTQ	AX, CX
	JCC	fatal
skip:
	MOVQ	72(BX), R14
	BTQ	$63, R12
	JCC	jump
	MOVQ	BX, 8(R13)
	MOVQ	AX, 16(R13)
	MOVQ	$SYS_write, AX
	MOVQ	0(R13), DI
	LEAQ	8(R13), SI
	MOVQ	$16, DX
	SYSCALL
jump:
	ADDQ	R14, BX
	JMP	advance

fatal:
	MOVQ	BX, 8(R13)
	MOVQ	AX, 16(R13)
	MOVQ	$SYS_write, AX
	MOVQ	0(R13), DI
	LEAQ	8(R13), SI
	MOVQ	$16, DX
	SYSCALL
	MOVQ	$125, DI
exit:
	MOVQ	$SYS_exit_group, AX
	SYSCALL
	JMP	exit

becomeInit:
	JMP	·reap(SB)

// reap is the init of a PID namespace: DI the command, SI the arena's end.
// All signals are blocked. The arena's memory is given back first: what
// stays is this page and the stack's.
TEXT ·reap(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	DI, R12
	MOVQ	R13, DI
	SUBQ	R13, SI
	MOVQ	$SYS_munmap, AX
	SYSCALL
	ANDQ	$~15, SP
	SUBQ	$256, SP
collect:
	MOVQ	$SYS_wait4, AX		// wait4(-1, &status, WNOHANG, NULL)
	MOVQ	$-1, DI
	LEAQ	8(SP), SI
	MOVQ	$1, DX
	XORQ	R10, R10
	SYSCALL
	CMPQ	AX, R12
	JEQ	ended
	CMPQ	AX, $0
	JGT	collect
	MOVQ	$-1, 0(SP)
	MOVQ	$SYS_rt_sigtimedwait, AX	// rt_sigtimedwait(all, &info, NULL, 8)
	MOVQ	SP, DI
	LEAQ	16(SP), SI
	XORQ	DX, DX
	MOVQ	$8, R10
	SYSCALL
	CMPQ	AX, $0
	JLE	collect
	CMPQ	AX, $17			// SIGCHLD
	JEQ	collect
	MOVQ	AX, SI
	MOVQ	R12, DI
	CMPL	24(SP), $-1		// si_code SI_QUEUE with value 1: to the group
	JNE	stops
	CMPL	40(SP), $1
	JNE	stops
	NEGQ	DI
stops:
	CMPQ	SI, $18			// SIGCONT and the stop signals: to the group
	JLT	send
	CMPQ	SI, $22
	JGT	send
	MOVQ	R12, DI
	NEGQ	DI
	CMPQ	SI, $18
	JEQ	send
	MOVQ	$19, SI			// its group is orphaned: only SIGSTOP works
send:
	MOVQ	SI, R14
	MOVQ	$SYS_kill, AX
	SYSCALL
	CMPQ	AX, $-3			// ESRCH: no group of its own yet
	JNE	collect
	MOVQ	R12, DI
	MOVQ	R14, SI
	MOVQ	$SYS_kill, AX
	SYSCALL
	JMP	collect
ended:
	MOVL	8(SP), DI
	MOVL	DI, SI
	ANDL	$0x7f, SI
	JEQ	exited
	LEAQ	128(SI), DI
	JMP	exit
exited:
	SHRL	$8, DI
	ANDL	$0xff, DI
exit:
	MOVQ	$SYS_exit_group, AX
	SYSCALL
	JMP	exit

// supervise stands in for bryo while the container runs. The environment's
// only string is "pidfd=" and the pidfd of its init, which is our child. All
// signals are blocked. It closes every other descriptor, forwards signals,
// stops when it is told to, and exits with the init's status.
TEXT ·supervise(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	32(SP), BX		// envp[0], behind argc and three words of argv
	XORQ	R13, R13
digit:
	MOVBQZX	6(BX), AX
	SUBQ	$48, AX
	JLT	number
	IMULQ	$10, R13
	ADDQ	AX, R13
	INCQ	BX
	JMP	digit
number:
	MOVQ	$SYS_close_range, AX	// close_range(0, pidfd-1, 0)
	XORQ	DI, DI
	LEAQ	-1(R13), SI
	XORQ	DX, DX
	SYSCALL
	MOVQ	$SYS_close_range, AX	// close_range(pidfd+1, ~0, 0)
	LEAQ	1(R13), DI
	MOVQ	$-1, SI
	XORQ	DX, DX
	SYSCALL
	ANDQ	$~15, SP
	SUBQ	$256, SP
look:
	MOVQ	$0, 32(SP)		// si_pid stays 0 while it runs
	MOVQ	$SYS_waitid, AX		// waitid(P_PIDFD, pidfd, &info, WEXITED|WNOHANG, NULL)
	MOVQ	$3, DI
	MOVQ	R13, SI
	LEAQ	16(SP), DX
	MOVQ	$5, R10
	XORQ	R8, R8
	SYSCALL
	CMPQ	AX, $0
	JLT	lost
	CMPL	32(SP), $0
	JNE	over
	MOVQ	$-1, 0(SP)
	MOVQ	$SYS_rt_sigtimedwait, AX
	MOVQ	SP, DI
	LEAQ	16(SP), SI
	XORQ	DX, DX
	MOVQ	$8, R10
	SYSCALL
	CMPQ	AX, $0
	JLE	look
	CMPQ	AX, $17
	JEQ	look
	CMPL	24(SP), $-6		// SI_TKILL: left over from the Go runtime
	JEQ	look
	MOVQ	AX, R12
	CMPL	24(SP), $-1		// SI_QUEUE: from before, see Hold
	JEQ	forward
	XORQ	CX, CX
	CMPL	24(SP), $0x80		// SI_KERNEL: from the terminal
	JNE	2(PC)
	MOVQ	$1, CX
	MOVL	$-1, 24(SP)		// si_code = SI_QUEUE
	MOVQ	CX, 40(SP)		// si_value
forward:
	MOVQ	$SYS_pidfd_send_signal, AX
	MOVQ	R13, DI
	MOVQ	R12, SI
	LEAQ	16(SP), DX
	XORQ	R10, R10
	SYSCALL
	CMPQ	R12, $20
	JLT	look
	CMPQ	R12, $22
	JGT	look
	MOVQ	$SYS_getpid, AX
	SYSCALL
	MOVQ	AX, DI
	MOVQ	$19, SI
	MOVQ	$SYS_kill, AX
	SYSCALL
	JMP	look
over:
	MOVL	40(SP), DI		// si_status
	CMPL	24(SP), $1		// CLD_EXITED
	JEQ	exit
	ADDL	$128, DI
	JMP	exit
lost:
	MOVQ	$125, DI
exit:
	MOVQ	$SYS_exit_group, AX
	SYSCALL
	JMP	exit

TEXT ·codeEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET

// func code() (start, end uintptr)
TEXT ·code(SB),NOSPLIT|NOFRAME,$0-16
	LEAQ	·stage(SB), AX
	MOVQ	AX, start+0(FP)
	LEAQ	·codeEnd(SB), AX
	MOVQ	AX, end+8(FP)
	RET

// func enter(arena uintptr)
TEXT ·enter(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	arena+0(FP), R13
	LEAQ	64(R13), BX
	JMP	·interpret(SB)

// func clone(args, size, arena uintptr) (pid, errno uintptr)
//
// The child shares memory and stack pointer; it leaves for the interpreter
// without touching the stack.
TEXT ·clone(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	arena+16(FP), R13
	LEAQ	64(R13), BX
	MOVQ	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JEQ	child
	CMPQ	AX, maxErrno
	JCS	made
	NEGQ	AX
	MOVQ	$-1, pid+24(FP)
	MOVQ	AX, errno+32(FP)
	RET
made:
	MOVQ	AX, pid+24(FP)
	MOVQ	$0, errno+32(FP)
	RET
child:
	JMP	·interpret(SB)
