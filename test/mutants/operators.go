package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// The kinds of faults.
const (
	kindConstant    = "constant"    // an offset, a size, a count: one more, one less
	kindMask        = "mask"        // a hexadecimal number: without its lowest bit, shifted by one
	kindOrder       = "order"       // the order of bytes
	kindOperator    = "operator"    // another arithmetic or bitwise operator
	kindComparison  = "comparison"  // another comparison
	kindCondition   = "condition"   // a guard that always or never holds; and, or, not
	kindStatement   = "statement"   // a call or an assignment that is missing; break, continue
	kindInstruction = "instruction" // an eBPF instruction that is missing, or another one
	kindJump        = "jump"        // another eBPF jump
	kindSize        = "size"        // a load or store of another size, the stack's words apart: half of one does
	kindRegister    = "register"    // another eBPF register
)

// operators are what each operator is mistaken for.
var operators = map[token.Token][]token.Token{
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL},
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD},
	token.MUL: {token.QUO}, token.QUO: {token.MUL}, token.REM: {token.QUO},
	token.SHL: {token.SHR}, token.SHR: {token.SHL},
	token.AND: {token.OR}, token.OR: {token.AND}, token.XOR: {token.OR}, token.AND_NOT: {token.AND},
	token.ADD_ASSIGN: {token.SUB_ASSIGN}, token.SUB_ASSIGN: {token.ADD_ASSIGN},
	token.MUL_ASSIGN: {token.QUO_ASSIGN}, token.QUO_ASSIGN: {token.MUL_ASSIGN},
	token.SHL_ASSIGN: {token.SHR_ASSIGN}, token.SHR_ASSIGN: {token.SHL_ASSIGN},
	token.AND_ASSIGN: {token.OR_ASSIGN}, token.OR_ASSIGN: {token.AND_ASSIGN},
	token.AND_NOT_ASSIGN: {token.OR_ASSIGN},
	token.INC:            {token.DEC}, token.DEC: {token.INC},
}

// assembler is what each word of the eBPF assembler is mistaken for.
var assembler = map[string]struct{ kind, other string }{
	"JEq": {kindJump, "JNE"}, "JNE": {kindJump, "JEq"}, "JSet": {kindJump, "JEq"},
	"JGT": {kindJump, "JGE"}, "JGE": {kindJump, "JGT"},
	"JLT": {kindJump, "JLE"}, "JLE": {kindJump, "JLT"}, "JSLT": {kindJump, "JSLE"},
	"Add": {kindInstruction, "Sub"}, "Sub": {kindInstruction, "Add"},
	"And": {kindInstruction, "Or"}, "Or": {kindInstruction, "And"}, "Xor": {kindInstruction, "Or"},
	"LSh": {kindInstruction, "RSh"}, "RSh": {kindInstruction, "LSh"}, "ArSh": {kindInstruction, "RSh"},
	"Byte": {kindSize, "Half"}, "Half": {kindSize, "Byte"}, "Word": {kindSize, "Half"}, "DWord": {kindSize, "Word"},
	"BE": {kindOrder, "LE"},
}

func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ImportSpec:
		return false
	case *ast.BasicLit:
		f.number(n)
	case *ast.BinaryExpr:
		if n.Op != token.ADD || !f.quoted(n.X) && !f.quoted(n.Y) {
			f.operator(n.Op, n.OpPos)
		}
	case *ast.UnaryExpr:
		f.unary(n)
	case *ast.AssignStmt:
		f.operator(n.Tok, n.TokPos)
	case *ast.IncDecStmt:
		f.operator(n.Tok, n.TokPos)
	case *ast.IfStmt:
		f.force(n.Cond, "true")
		f.force(n.Cond, "false")
	case *ast.ForStmt:
		f.force(n.Cond, "false")
	case *ast.BlockStmt:
		f.statements(n.List)
	case *ast.CaseClause:
		f.statements(n.Body)
	case *ast.CallExpr:
		if f.idle(n) {
			return false
		}
		f.call(n)
	case *ast.SelectorExpr:
		f.selector(n)
	case *ast.Ident:
		f.truth(n)
	}
	return true
}

// quoted reports whether a node begins or ends with a string: nothing but
// adding it compiles.
func (f *finder) quoted(n ast.Node) bool {
	text := f.text(n)
	return strings.HasPrefix(text, `"`) || strings.HasSuffix(text, `"`)
}

func (f *finder) number(n *ast.BasicLit) {
	v, err := strconv.ParseUint(n.Value, 0, 64)
	if n.Kind != token.INT || err != nil {
		return
	}
	if strings.HasPrefix(n.Value, "0x") {
		lowest := uint64(1) << (bits.TrailingZeros64(v) & 63)
		for _, other := range []uint64{v &^ lowest, v << 1} {
			f.replace(kindMask, n.Pos(), n.End(), fmt.Sprintf("0x%x", other))
		}
		return
	}
	for _, other := range []int64{int64(v) + 1, int64(v) - 1} {
		f.replace(kindConstant, n.Pos(), n.End(), fmt.Sprint(other))
	}
}

func (f *finder) operator(op token.Token, at token.Pos) {
	kind := kindOperator
	switch op {
	case token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ:
		kind = kindComparison
	case token.LAND, token.LOR:
		kind = kindCondition
	}
	for _, other := range operators[op] {
		f.replace(kind, at, at+token.Pos(len(op.String())), other.String())
	}
}

// unary leaves out a "not", a minus or a complement.
func (f *finder) unary(n *ast.UnaryExpr) {
	switch n.Op {
	case token.NOT:
		f.replace(kindCondition, n.Pos(), n.X.Pos(), "")
	case token.SUB, token.XOR:
		f.replace(kindOperator, n.Pos(), n.X.Pos(), "")
	}
}

// force makes a condition always or never hold. It stays in the code, so that
// what it uses is still used.
func (f *finder) force(cond ast.Expr, truth string) {
	if cond == nil {
		return
	}
	op := " || true"
	if truth == "false" {
		op = " && false"
	}
	f.replace(kindCondition, cond.Pos(), cond.End(), "("+f.text(cond)+")"+op)
}

func (f *finder) truth(n *ast.Ident) {
	switch n.Name {
	case "true":
		f.replace(kindCondition, n.Pos(), n.End(), "false")
	case "false":
		f.replace(kindCondition, n.Pos(), n.End(), "true")
	}
}

// statements leaves out one statement, or turns break and continue around.
func (f *finder) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if call, ok := s.X.(*ast.CallExpr); !ok || !f.idle(call) {
				f.replace(kindStatement, s.Pos(), s.End(), "")
			}
		case *ast.IncDecStmt:
			f.replace(kindStatement, s.Pos(), s.End(), "")
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				f.replace(kindStatement, s.Pos(), s.End(), "")
			}
		case *ast.BranchStmt:
			other := map[token.Token]string{token.BREAK: "continue", token.CONTINUE: "break"}[s.Tok]
			if other != "" {
				f.replace(kindStatement, s.TokPos, s.TokPos+token.Pos(len(s.Tok.String())), other)
			}
		}
	}
}

// idle reports whether what a call is given decides nothing: room that is set
// aside, and words for those who read a listing.
func (f *finder) idle(n *ast.CallExpr) bool {
	name := f.text(n.Fun)
	return name == "make" || strings.HasSuffix(name, ".About")
}

// call leaves out an instruction of a list, turns the order of bytes around,
// or takes one scratch register for the other.
func (f *finder) call(n *ast.CallExpr) {
	name := f.text(n.Fun)
	switch {
	case name == "swapped":
		f.replace(kindOrder, n.Pos(), n.End(), "int32("+f.text(n.Args[0])+")")
	case name == "inMemory":
		f.replace(kindOrder, n.Pos(), n.End(), "int64("+f.text(n.Args[0])+")")
	case strings.HasSuffix(name, ".Emit"):
		for i, a := range n.Args {
			if i+1 < len(n.Args) {
				f.replace(kindInstruction, a.Pos(), n.Args[i+1].Pos(), "")
			} else if i > 0 {
				f.replace(kindInstruction, n.Args[i-1].End(), a.End(), "")
			}
		}
	case strings.HasPrefix(name, "asm."):
		f.stack = slices.ContainsFunc(n.Args, func(a ast.Expr) bool { return f.text(a) == "asm.R10" || f.text(a) == "frame" })
		for _, a := range n.Args {
			if other := map[string]string{"value": "temp", "temp": "value"}[f.text(a)]; other != "" {
				f.replace(kindRegister, a.Pos(), a.End(), other)
			}
		}
	}
}

func (f *finder) selector(n *ast.SelectorExpr) {
	switch f.text(n.X) {
	case "asm":
		if w, ok := assembler[n.Sel.Name]; ok && (w.kind != kindSize || !f.stack) {
			f.replace(w.kind, n.Sel.Pos(), n.Sel.End(), w.other)
		}
	case "binary":
		if n.Sel.Name == "BigEndian" {
			f.replace(kindOrder, n.Sel.Pos(), n.Sel.End(), "LittleEndian")
		}
	}
}
